"""The C functions and structures as Python calls them; the headers say what they mean.

A structure holds addresses alone: whoever fills one keeps the memory behind them.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_float, c_int32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from minivault.engine.native.compiler import Build, build
from minivault.engine.runners.base import NoKernels

KINDS = {"float32": 0, "bfloat16": 1, "int8": 2}
ACTIVATIONS = {None: 0, "gelu": 1, "gelu_tanh": 2, "relu": 3}

PANEL = 32
"""Outputs whose weights lie together."""

GROUP = 4
"""Inputs are filled up to a multiple of this."""

LANES = 16
"""Numbers that one vector holds."""

BLOCK = 16
"""Positions whose keys and values lie together; a head's width is filled up to a multiple."""


class Norm(Structure):
    """struct norm"""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class Linear(Structure):
    """struct linear"""

    _fields_ = (
        ("weight", c_void_p),
        ("bias", c_void_p),
        ("scale", c_void_p),
        ("offset", c_void_p),
        ("kind", c_int32),
        ("activation", c_int32),
        ("inputs", c_int32),
        ("outputs", c_int32),
    )


class Operand(Structure):
    """struct operand"""

    _fields_ = (
        ("rows", c_void_p),
        ("scale", c_void_p),
        ("shift", c_void_p),
        ("stride", c_int32),
    )


class Cache(Structure):
    """struct cache"""

    _fields_ = (
        ("memory", c_void_p),
        ("bfloat16", c_int32),
        ("layers", c_int32),
        ("heads", c_int32),
        ("blocks", c_int32),
        ("width", c_int32),
    )


class Layer(Structure):
    """struct layer"""

    _fields_ = (
        ("before_attention", Norm),
        ("before_network", Norm),
        ("project", Linear),
        ("merge", Linear),
        ("widen", Linear),
        ("narrow", Linear),
        ("scale", c_float),
    )


class Gpt2(Structure):
    """struct gpt2"""

    _fields_ = (
        ("layers", POINTER(Layer)),
        ("tokens", c_void_p),
        ("positions", c_void_p),
        ("history", c_void_p),
        ("last", Norm),
        ("head", Linear),
        ("mean", c_void_p),
        ("cache", Cache),
        ("bfloat16", c_int32),
        ("count", c_int32),
        ("width", c_int32),
        ("inner", c_int32),
        ("context", c_int32),
        ("epsilon", c_float),
        ("of_width", Operand),
        ("of_inner", Operand),
        ("shift", c_void_p),
        ("projected", c_void_p),
        ("mixed", c_void_p),
        ("widened", c_void_p),
        ("scores", c_void_p),
    )


class Sampling(Structure):
    """struct sampling"""

    _fields_ = (
        ("seed", c_uint64),
        ("temperature", c_double),
        ("top_p", c_double),
        ("penalty", c_float),
        ("top_k", c_int32),
        ("prompt", c_int32),
    )


class Draw(Structure):
    """struct draw"""

    _fields_ = (
        ("sampling", POINTER(Sampling)),
        ("history", c_void_p),
        ("positions", c_int32),
        ("vocabulary", c_int32),
        ("maxima", c_void_p),
        ("saved", c_void_p),
        ("values", c_void_p),
        ("ids", c_void_p),
        ("sums", c_void_p),
        ("order", c_void_p),
    )


def loaded(target: tuple[str, ...] | None = None) -> tuple[Build, Any]:
    """A build and its functions; one that cannot be loaded is made anew. Raises NoKernels."""
    built = build(target)
    try:
        return built, library(built.path)
    except OSError:  # cut short by a power failure, or in a folder that nothing may run from
        built = build(target, anew=True)
    try:
        return built, library(built.path)
    except OSError as error:
        raise NoKernels(f"the compiled C files cannot be loaded: {error}") from error


@cache
def library(path: Path) -> Any:
    """The functions of one build. A call gives the interpreter's lock away while it lasts."""
    found = ctypes.CDLL(str(path))
    found.team_new.restype = c_void_p
    found.team_new.argtypes = (ctypes.c_int,)
    found.team_free.argtypes = (c_void_p,)
    found.team_wake.argtypes = found.team_rest.argtypes = (c_void_p,)
    found.operand_set.argtypes = (POINTER(Operand), *(ctypes.c_int,) * 2, c_void_p, ctypes.c_int)
    found.linear_run.argtypes = (
        c_void_p,
        POINTER(Linear),
        POINTER(Operand),
        ctypes.c_int,
        c_void_p,
        ctypes.c_int,
        ctypes.c_int,
    )
    rows = (c_void_p, POINTER(Gpt2), ctypes.c_int)
    found.gpt2_run.argtypes = (*rows, c_void_p, c_void_p, c_void_p)
    found.gpt2_logits.argtypes = (*rows, c_void_p, c_void_p)
    step = (c_void_p, POINTER(Gpt2), POINTER(Draw), ctypes.c_int, ctypes.c_int)
    found.gpt2_step.argtypes = (*step, c_void_p, c_void_p, c_void_p, c_void_p)
    found.draw_run.argtypes = (c_void_p, POINTER(Draw), *(c_void_p,) * 3, ctypes.c_int)
    calls = ("team_free", "team_wake", "team_rest", "operand_set", "linear_run", "draw_run")
    for name in (*calls, "gpt2_run", "gpt2_logits", "gpt2_step"):
        getattr(found, name).restype = None
    return found
