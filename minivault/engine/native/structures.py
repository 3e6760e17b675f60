"""What the C files are handed, by the names of decoder.h: weights, and room for rows and draws."""

from __future__ import annotations

from typing import Any

import torch

from minivault.engine.native.description import Description, Layer, Weights
from minivault.engine.native.groups import Groups, joined, quantized
from minivault.engine.native.library import LANES, Memory, constants
from minivault.engine.native.packing import packed
from minivault.engine.runner import Dtype

Fields = dict[str, Any]

_NORMS = (
    "before_attention",
    "after_attention",
    "before_network",
    "after_network",
    "queries",
    "keys",
)


def decoder_fields(memory: Memory, model: Description, dtype: Dtype) -> Fields:
    """Of a `struct decoder`, but its cache; the description's tensors may be dropped afterwards."""
    narrow = dtype != "float32"
    table = model.tokens.to(torch.bfloat16 if narrow else torch.float32, copy=True)
    layers = [_layer(memory, model, model.layer(index), dtype) for index in range(model.depth)]
    fields: Fields = {
        "layers": memory.new("struct layer[]", layers),
        "tokens": memory.address(table.contiguous()),
        "last": _norm(memory, model.last),
        "bfloat16": narrow,
        "count": len(layers),
        "hidden": model.hidden,
        "heads": model.heads,
        "head_width": model.head_width,
        "rotary": 0 if model.rotations is None else model.rotations.shape[-1],
        "inner": model.inner,
        "context": model.context,
        "norm": getattr(constants, f"{model.norm.upper()}_NORM"),
        "epsilon": model.epsilon,
        "embedding": model.embedding,
        "residual": model.residual,
    }
    tables = {name: getattr(model, name) for name in ("positions", "rotations", "stretch")}
    for name, each in tables.items():
        if each is not None:
            fields[name] = memory.address(each.to(torch.float32, copy=True).contiguous())
    return fields | _head(memory, model.head, dtype)


def room_fields(memory: Memory, model: Description, rows: int, threads: int) -> Fields:
    """Of a `struct room`, but what Python reads and writes as well."""
    heads = model.heads * model.head_width
    keys = model.kv_heads * model.head_width
    sizes = {
        "shift": (rows,),
        "normalized": (rows, model.hidden),
        "projected": (rows, heads + 2 * keys),
        "mixed": (rows, heads),
        "widened": (rows, model.inner),
        "branch": (rows, model.hidden),
        "scores": (threads, constants.QUERIES, _whole(model.context) + _whole(model.head_width)),
    }
    operands = {"of_hidden": model.hidden, "of_mixed": heads, "of_inner": model.inner}
    return {name: memory.address(torch.zeros(size)) for name, size in sizes.items()} | {
        name: operand(memory, rows, width) for name, width in operands.items()
    }


def _whole(numbers: int) -> int:
    """Up to whole blocks."""
    return int(-(-numbers // constants.BLOCK) * constants.BLOCK)


def draw_fields(memory: Memory, model: Description, threads: int) -> Fields:
    """Of a `struct draw`, but whose rows they are."""
    vocabulary = model.vocabulary
    room = {
        "maxima": torch.zeros(threads, vocabulary // LANES + LANES),
        "saved": torch.zeros(threads, model.context),
        "values": torch.zeros(threads, vocabulary),
        "ids": torch.zeros(threads, vocabulary, dtype=torch.int32),
        "sums": torch.zeros(threads, vocabulary, dtype=torch.float64),
        "order": torch.zeros(threads, 2, vocabulary, dtype=torch.int64),
    }
    return {name: memory.address(each) for name, each in room.items()} | {
        "positions": model.context,
        "vocabulary": vocabulary,
    }


def operand(memory: Memory, rows: int, width: int) -> Fields:
    """Room for rows of the widest numbers."""
    groups = -(-width // constants.GROUP)
    stride = groups * constants.GROUP
    return {
        "rows": memory.address(torch.zeros(rows, stride)),
        "scale": memory.address(torch.zeros(rows, groups)),
        "sums": memory.address(torch.zeros(rows, groups, dtype=torch.int32)),
        "stride": stride,
    }


def _layer(memory: Memory, model: Description, layer: Layer, dtype: Dtype) -> Fields:
    project = [packed(memory, dtype, each) for each in _joined(layer.project)]
    wide = layer.queries is not None and layer.queries.weight.shape[0] != model.head_width
    return {name: _norm(memory, getattr(layer, name)) for name in _NORMS} | {
        "project": project,
        "projects": len(project),
        "merge": packed(memory, dtype, layer.merge),
        "widen": packed(memory, dtype, _one(layer.widen), model.activation, gated=model.gated),
        "narrow": packed(memory, dtype, layer.narrow),
        "whole": wide,
        "rotation": -1 if layer.rotation is None else layer.rotation,
        "window": layer.window,
        "scale": layer.scale,
    }


def _joined(parts: tuple[Weights, ...]) -> list[Weights]:
    """Parts that can be one product as one: it reads its input once, and all in the same form."""
    kinds = {getattr(each.weight, "kind", None) for each in parts}
    if None in kinds and len(kinds) > 1:
        return _joined(tuple(map(_in_bytes, parts)))
    if len(parts) == 1 or len(kinds) > 1 or len({each.bias is None for each in parts}) > 1:
        return list(parts)
    biases = [each.bias for each in parts if each.bias is not None]
    whole = joined([each.weight for each in parts])
    return [Weights(whole, torch.cat(biases) if biases else None)]


def _one(parts: tuple[Weights, ...]) -> Weights:
    """Parts that have to be one product, so of one kind."""
    found = _joined(parts)
    return found[0] if len(found) == 1 else _joined(tuple(map(_in_bytes, parts)))[0]


def _in_bytes(part: Weights) -> Weights:
    weight = part.weight
    values = weight.values() if isinstance(weight, Groups) else weight.float().numpy()
    return Weights(quantized(values, 8), part.bias)


def _head(memory: Memory, weight: torch.Tensor | Groups, dtype: Dtype) -> Fields:
    """The product, and the mean that int8 would have no steps left beside; int4 has it as int8."""
    if dtype not in ("int8", "int4") or isinstance(weight, Groups):
        return {"head": packed(memory, dtype, Weights(weight))}
    mean = _mean(weight)
    head = packed(memory, "int8", Weights(weight - mean))
    return {"head": head, "mean": memory.address(mean)}


def _mean(weight: torch.Tensor) -> torch.Tensor:
    """Of the outputs, as sums of whole numbers: exact in whatever order they are added."""
    whole = (weight.double() * 2**24).round().long().sum(0)
    return (whole.double() / (2**24 * len(weight))).float()


def _norm(memory: Memory, norm: Weights | None) -> Fields:
    both = {"weight": norm.weight, "bias": norm.bias} if norm else {}
    return {
        name: memory.address(each.float().clone())
        for name, each in both.items()
        if isinstance(each, torch.Tensor)
    }
