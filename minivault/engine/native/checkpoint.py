"""A model's settings and weights, by the names that transformers gives them, from either format."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from minivault.engine.native.groups import Groups, from_gguf
from minivault.engine.native.groups import refuse_no_numbers as groups_have_numbers
from minivault.engine.native.numbers import Array, narrowed, refuse_no_numbers
from minivault.engine.runner import Dtype, Unsupported
from minivault.errors import ModelUnusable
from minivault.gguf import is_gguf
from minivault.gguf.config import config_of, family_of
from minivault.gguf.reader import GgufFile
from minivault.gguf.weights import weights_of

Shape = tuple[int, ...]

_ROWS = 4096  # so many are dequantized at once
# What a header may lead to that the check admits, though no file has it: a list for an object.
_ODD_HEADERS = (ValueError, TypeError, KeyError, RecursionError)
_TYPES = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32, "F64": np.float64}


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

    @property
    def dtype(self) -> Dtype:
        """What its tensors are kept as."""
        ...

    @property
    def widths(self) -> str:
        """What the weights of its products are kept as, for people: `Q4_1+Q8_0`, `float32`."""
        ...

    def tensor(self, name: str) -> Array:
        """One that is there. Raises ModelUnusable where it holds what are no numbers, Unsupported
        for a type that is not known."""
        ...

    def weight(self, name: str, *, inputs_first: bool = False) -> Array | Groups:
        """The same of a product, a row for each output: in groups, where the file has it so and it
        is to stay so. `inputs_first`: transformers has it the other way round."""
        ...


def open_checkpoint(path: Path, dtype: Dtype | Literal["file"] = "float32") -> Checkpoint:
    """Of a folder, or of a GGUF file, whose weights will be kept as `dtype`.

    `file`: as the file has them, where it has them in groups. Raises ModelUnusable for what cannot
    be read.
    """
    if is_gguf(path):
        return _GgufCheckpoint(path, dtype)
    assert dtype != "file"
    return _Safetensors(path, dtype)


class _Safetensors:
    """The tensors are views of the files."""

    def __init__(self, folder: Path, dtype: Dtype) -> None:
        self.dtype = self.widths = dtype
        self.config = _read_json(folder / "config.json")
        self.shapes: dict[str, Shape] = {}
        self._places: dict[str, tuple[Path, str, int]] = {}  # file, type, first byte
        for path in _files(folder):
            try:
                safe_open(path, framework="np")  # checks the header, which is read by itself below
                with path.open("rb") as file:
                    size = int.from_bytes(file.read(8), "little")
                    header = json.loads(file.read(size))
                header.pop("__metadata__", None)
                for name, entry in header.items():
                    kind, begin = str(entry["dtype"]), 8 + size + entry["data_offsets"][0]
                    self.shapes[name] = tuple(entry["shape"])
                    self._places[name] = path, kind, begin
            except (SafetensorError, OSError, *_ODD_HEADERS) as error:
                raise _unreadable(path, error) from error

    def tensor(self, name: str) -> Array:
        path, kind, offset = self._places[name]
        if kind not in _TYPES:
            raise Unsupported(f"its tensor {name[:80]} is of type {kind}")
        try:
            tensor: Array = np.memmap(path, _TYPES[kind], "r", offset, self.shapes[name])
        except (OSError, ValueError, OverflowError) as error:
            raise _unreadable(path, error) from error
        if kind == "F64":
            with np.errstate(over="ignore"):
                tensor = tensor.astype(np.float32)
        refuse_no_numbers(name, tensor)
        return tensor

    def weight(self, name: str, *, inputs_first: bool = False) -> Array:
        tensor = self.tensor(name)
        return tensor.T if inputs_first else tensor


class _GgufCheckpoint:
    """The numbers of a tensor are made when it is asked for."""

    def __init__(self, path: Path, dtype: Dtype | Literal["file"]) -> None:
        self._file = file = GgufFile.open(path)
        self.config = config_of(file)
        self._weights = weights_of(file, family_of(file), self.config)
        self.shapes = {name: each.shape for name, each in self._weights.items()}
        self._in_groups = dtype == "file"
        types = self._types()
        if dtype == "file":
            dtype = "float32" if types == ["F32"] else "bfloat16"
        self.dtype: Dtype = dtype
        self.widths = "+".join(types) if self._in_groups else dtype

    def tensor(self, name: str) -> Array:
        """In float32, or in bfloat16 where that is what will be made of it."""
        self._file.forget()
        weight = self._weights[name]
        wide = self.dtype != "bfloat16" or len(weight.shape) < 2
        tensor = np.empty(weight.tensor.shape, np.float32 if wide else np.uint16)
        for begin in range(0, len(tensor), _ROWS):
            rows = slice(begin, begin + _ROWS)
            values = weight.values(rows)
            refuse_no_numbers(name, values)
            tensor[rows] = values if wide else narrowed(values)
        return tensor

    def weight(self, name: str, *, inputs_first: bool = False) -> Array | Groups:
        self._file.forget()  # those before are packed, or nearly
        weight = self._weights[name]
        assert weight.inputs_first == inputs_first
        if not self._in_groups or weight.tensor.type.weights == 1:
            return self.tensor(name)
        groups = from_gguf(weight.tensor)
        groups_have_numbers(groups, name)
        return groups if weight.rows is None else groups.rows(weight.rows)

    def _types(self) -> list[str]:
        """Of the matrices, the one that most are of first."""
        sizes = Counter[str]()
        for each in self._weights.values():
            if len(each.shape) > 1:
                sizes[each.tensor.type.name] += each.tensor.blocks.nbytes
        return [name for name, _ in sizes.most_common()]


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
