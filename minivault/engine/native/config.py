"""A model's settings: each is asked for by somebody who knows what it means, or refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from minivault.engine.runner import Unsupported


class Config:
    """One object of settings. One that says null counts as absent, unless `given` is asked.

    All methods raise Unsupported for a value that is none of those that can be served.
    """

    def __init__(self, values: Mapping[str, Any], place: str = "") -> None:
        """`place` stands before a setting's name in messages, as `rope_parameters.`."""
        self._values = values
        self._place = place
        self._left = {name for name, value in values.items() if value is not None}

    def given(self, name: str) -> bool:
        """Whether it is there at all, also as null."""
        return name in self._values

    def get(self, name: str) -> Any:
        """Its value as it is; None where it is absent."""
        self._left.discard(name)
        return self._values.get(name)

    def whole(self, name: str, default: int | None = None) -> int:
        """A whole number from 1 on. Required where there is no default."""
        value = self._required(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(name)
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """Any finite number. Required where there is no default."""
        value = self._required(name, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self.wrong(name)
        return float(value)

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._required(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name)
        return value

    def numbers(self, name: str, count: int) -> list[float]:
        """So many finite numbers."""
        value = self._required(name)
        if not isinstance(value, list) or len(value) != count:
            raise self.wrong(name)
        if not all(isinstance(each, int | float) and math.isfinite(each) for each in value):
            raise self.wrong(name)
        return [float(each) for each in value]

    def objects(self, name: str) -> Config:
        """The settings that are in one; none where it is absent."""
        value = self.get(name)
        if not isinstance(value, Mapping | None):
            raise self.wrong(name)
        return Config(value or {}, f"{self._place}{name}.")

    def demand(self, name: str, *expected: Any) -> None:
        """Where it is there, it says one of these."""
        value = self.get(name)
        if value is not None and value not in expected:
            raise self.wrong(name)

    def skip(self, *names: str) -> None:
        """For what changes no text."""
        self._left.difference_update(names)

    def finish(self) -> None:
        """Raises Unsupported if there is a setting that nobody asked for."""
        if self._left:
            raise self.wrong(min(self._left))

    def wrong(self, name: str) -> Unsupported:
        value = repr(self._values.get(name))
        shown = value if len(value) <= 40 else f"{value[:40]}…"
        return Unsupported(f"it does not know {self._place}{name} = {shown}")

    def _required(self, name: str, default: Any = None) -> Any:
        value = self.get(name)
        if value is None and default is None:
            raise Unsupported(f"the settings lack {self._place}{name}")
        return default if value is None else value
