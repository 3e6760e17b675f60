"""The keys of a GGUF file that describe its model: each is asked for, or refused by name."""

from __future__ import annotations

import numpy as np

from minivault.errors import ModelUnusable
from minivault.gguf.reader import GgufFile, Value

_ARCHITECTURE = "general.architecture"


class Fields:
    """The keys of the file's architecture, each asked for once; what is left was not understood."""

    def __init__(self, file: GgufFile) -> None:
        architecture = file.metadata.get(_ARCHITECTURE)
        if not isinstance(architecture, str):
            raise ModelUnusable(f"{file.path.name} does not say its architecture")
        self.file = file
        self.architecture = architecture
        prefix = f"{architecture}."
        self._left = {
            key.removeprefix(prefix): value
            for key, value in file.metadata.items()
            if key.startswith(prefix)
        }

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number, not below 0."""
        value = self._number(key, default)
        if value < 0 or value != int(value):
            raise self.wrong(key, value)
        return int(value)

    def number(self, key: str, default: float | None = None) -> float:
        return float(self._number(key, default))

    def text(self, key: str, default: str) -> str:
        value = self._left.pop(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, value)
        return value

    def skip(self, *keys: str) -> None:
        """For what changes nothing."""
        for key in keys:
            self._left.pop(key, None)

    def demand(self, key: str, expected: Value) -> None:
        """Where the key is there, it must say this."""
        if self._left.pop(key, expected) != expected:
            raise self.wrong(key, self.file.metadata[f"{self.architecture}.{key}"])

    def finish(self) -> None:
        """Raises ModelUnusable if a key was never asked for."""
        if self._left:
            key, value = next(iter(self._left.items()))
            raise self.wrong(key, value)

    def wrong(self, key: str, value: object) -> ModelUnusable:
        name = f"{self.architecture}.{key}"
        return ModelUnusable(
            f"{self.file.path.name} says {name[:80]} = {str(value)[:40]}, "
            "which is not supported; serving it all the same could give wrong text"
        )

    def _number(self, key: str, default: float | None) -> float:
        value = self._left.pop(key, default)
        if value is None:
            raise ModelUnusable(f"{self.file.path.name} lacks {self.architecture}.{key}")
        if isinstance(value, np.ndarray):  # one for each layer
            if not value.size or (value != value[0]).any():
                raise self.wrong(key, value)
            value = value[0].item()
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, value)
        if not np.isfinite(value):
            raise self.wrong(key, value)
        return value
