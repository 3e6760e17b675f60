"""What the C files are handed, by the names of decoder.h: weights, and room for rows and draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from minivault.engine.native.description import Description, Layer, Weights
from minivault.engine.native.groups import Groups, joined, quantized
from minivault.engine.native.library import LANES, Memory, constants
from minivault.engine.native.numbers import Array, Floats, copied, narrowed, widened, zeros
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
    """Of a `struct decoder`, but its cache; the description's arrays may be dropped afterwards."""
    narrow = dtype != "float32"
    table = narrowed(model.tokens) if narrow else widened(model.tokens)
    layers = [_layer(memory, model, model.layer(index), dtype) for index in range(model.depth)]
    fields: Fields = {
        "layers": memory.new("struct layer[]", layers),
        "tokens": memory.address(table if table.flags.owndata else copied(table)),
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
            fields[name] = memory.address(copied(widened(each)))
    return fields | _head(memory, model.head, dtype)


def key_kind(model: Fields) -> int:
    """What a cache keeps keys as: whole numbers where all weights that make them are."""
    layers = [model["layers"][index] for index in range(model["count"])]
    kinds = {each.kind for layer in layers for each in layer.project[0 : layer.projects]}
    if not kinds & {constants.FLOAT32, constants.BFLOAT16}:
        return int(constants.INT8)
    return int(constants.BFLOAT16 if model["bfloat16"] else constants.FLOAT32)


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
    return {name: memory.address(zeros(size)) for name, size in sizes.items()} | {
        name: operand(memory, rows, width) for name, width in operands.items()
    }


def _whole(numbers: int) -> int:
    """Up to whole blocks."""
    return int(-(-numbers // constants.BLOCK) * constants.BLOCK)


def draw_fields(memory: Memory, model: Description, threads: int) -> Fields:
    """Of a `struct draw`, but whose rows they are."""
    vocabulary = model.vocabulary
    room = {
        "maxima": zeros((threads, vocabulary // LANES + LANES)),
        "saved": zeros((threads, model.context)),
        "values": zeros((threads, vocabulary)),
        "ids": zeros((threads, vocabulary), np.int32),
        "sums": zeros((threads, vocabulary), np.float64),
        "order": zeros((threads, 2, vocabulary), np.int64),
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
        "rows": memory.address(zeros((rows, stride))),
        "scale": memory.address(zeros((rows, groups))),
        "sums": memory.address(zeros((rows, groups), np.int32)),
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
    return [Weights(whole, np.concatenate(biases) if biases else None)]


def _one(parts: tuple[Weights, ...]) -> Weights:
    """Parts that have to be one product, so of one kind."""
    found = _joined(parts)
    return found[0] if len(found) == 1 else _joined(tuple(map(_in_bytes, parts)))[0]


def _in_bytes(part: Weights) -> Weights:
    weight = part.weight
    values = weight.values() if isinstance(weight, Groups) else widened(weight)
    return Weights(quantized(values, 8), part.bias)


def _head(memory: Memory, weight: Array | Groups, dtype: Dtype) -> Fields:
    """The product, and the mean that int8 would have no steps left beside; int4 has it as int8."""
    if dtype not in ("int8", "int4") or isinstance(weight, Groups):
        return {"head": packed(memory, dtype, Weights(weight))}
    values = widened(weight)
    mean = _mean(values)
    head = packed(memory, "int8", Weights(values - mean))
    return {"head": head, "mean": memory.address(copied(mean))}


def _mean(weight: Floats) -> Floats:
    """Of the outputs, as sums of whole numbers: exact in whatever order they are added."""
    whole = np.rint(weight.astype(np.float64) * 2**24).astype(np.int64).sum(0)
    mean: Floats = (whole.astype(np.float64) / (2**24 * len(weight))).astype(np.float32)
    return mean


def _norm(memory: Memory, norm: Weights | None) -> Fields:
    both = {"weight": norm.weight, "bias": norm.bias} if norm else {}
    return {
        name: memory.address(copied(widened(each)))
        for name, each in both.items()
        if each is not None and not isinstance(each, Groups)
    }
