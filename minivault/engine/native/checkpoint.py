"""A model's settings and weights, by the names that transformers gives them, from either format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from minivault.engine.numbers import refuse_no_numbers
from minivault.errors import ModelUnusable
from minivault.gguf import is_gguf
from minivault.gguf.config import config_of, family_of
from minivault.gguf.reader import GgufFile
from minivault.gguf.weights import weights_of

Shape = tuple[int, ...]


class Checkpoint(Protocol):
    """Weights are not read before they are asked for."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings, in transformers' words."""
        ...

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Of all tensors."""
        ...

    def tensor(self, name: str) -> Tensor:
        """One that is there. Raises ModelUnusable where it holds what are no numbers."""
        ...


def open_checkpoint(path: Path) -> Checkpoint:
    """Of a folder, or of a GGUF file. Raises ModelUnusable for what cannot be read."""
    return _GgufCheckpoint(path) if is_gguf(path) else _Safetensors(path)


class _Safetensors:
    """The tensors are views of the files where the system allows it."""

    def __init__(self, folder: Path) -> None:
        self.config = _read_json(folder / "config.json")
        self.shapes: dict[str, Shape] = {}
        self._files: dict[str, Any] = {}
        self._names: dict[str, Path] = {}
        for path in _files(folder):
            try:
                file: Any = safe_open(path, framework="pt")  # half of it has no types
                for name in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())
                    self._files[name], self._names[name] = file, path
            except (SafetensorError, OSError) as error:
                raise _unreadable(path, error) from error

    def tensor(self, name: str) -> Tensor:
        try:
            tensor: Tensor = self._files[name].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise _unreadable(self._names[name], error) from error
        refuse_no_numbers([(name, tensor)])
        return tensor


class _GgufCheckpoint:
    """The numbers of a tensor are made when it is asked for."""

    def __init__(self, path: Path) -> None:
        file = GgufFile.open(path)
        self.config = config_of(file)
        self._weights = weights_of(file, family_of(file), self.config)
        self.shapes = {name: each.shape for name, each in self._weights.items()}

    def tensor(self, name: str) -> Tensor:
        tensor = torch.from_numpy(self._weights[name].values())
        refuse_no_numbers([(name, tensor)])
        return tensor


def refuse_names(what: str, names: set[str]) -> None:
    """Raises ModelUnusable where there are any."""
    if names:
        shown = ", ".join(sorted(names)[:5]) + (" …" if len(names) > 5 else "")
        raise ModelUnusable(f"{len(names)} tensors are {what}: {shown}")


def _files(folder: Path) -> list[Path]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists() or not index.exists():
        return [whole]
    names = {str(name) for name in dict(_read_json(index).get("weight_map", {})).values()}
    if any(Path(name).name != name for name in names):
        raise ModelUnusable(f"{index.name} names files outside of its folder")
    return [folder / name for name in sorted(names)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(data, dict):
        raise ModelUnusable(f"{path.name} holds no JSON object")
    return data


def _unreadable(path: Path, error: Exception) -> ModelUnusable:
    return ModelUnusable(f"{path.name} cannot be read: {error}")
