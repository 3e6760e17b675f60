"""Says by layer where a profiled thread spent its time."""

from __future__ import annotations

import pstats
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Parts of file names, the first that fits wins.
_LAYERS = (
    ("minivault/generations", "generations"),
    ("minivault/vault", "vault"),
    ("minivault/backends", "backend"),
    ("minivault/engine", "backend"),
    ("minivault/metrics", "metrics"),
    ("prometheus_client", "metrics"),
    ("minivault/protocol", "HTTP (uvicorn, h11)"),
    ("uvicorn", "HTTP (uvicorn, h11)"),
    ("h11", "HTTP (uvicorn, h11)"),
    ("minivault/web/middleware", "middleware"),
    ("minivault/web", "SSE (web, sse-starlette, starlette, anyio)"),
    ("sse_starlette", "SSE (web, sse-starlette, starlette, anyio)"),
    ("starlette", "SSE (web, sse-starlette, starlette, anyio)"),
    ("anyio", "SSE (web, sse-starlette, starlette, anyio)"),
    ("json/", "JSON"),
    ("asyncio", "event loop (asyncio, sockets)"),
    ("selectors", "event loop (asyncio, sockets)"),
)
_IDLE = ("poll", "select", "kqueue")

#: pstats' name of a function: file, line, function.
Function = tuple[str, int, str]


def seconds_by_layer(profile: Path) -> dict[str, float]:
    """Seconds of each layer's own code, largest first; what is built in counts for its caller.

    Waiting for sockets is left out.
    """
    stats: Mapping[Function, Any] = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    found: dict[str, float] = defaultdict(float)
    for function, (_, _, own, _, callers) in stats.items():
        if not _is_built_in(function):
            found[_layer(function)] += own
        elif not _is_waiting(function):
            for caller, (_, _, share, _) in callers.items():
                found[_layer(caller)] += share
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def slowest(profile: Path, count: int) -> list[tuple[str, float]]:
    """The functions with the most time of their own, as `file:line(name)`, in seconds."""
    stats: Mapping[Function, Any] = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    own = {each: values[2] for each, values in stats.items() if not _is_waiting(each)}
    ranked = sorted(own.items(), key=lambda item: -item[1])[:count]
    return [(_title(function), seconds) for function, seconds in ranked]


def _layer(function: Function) -> str:
    file = function[0].replace("\\", "/")
    return next((layer for part, layer in _LAYERS if part in file), "other")


def _is_built_in(function: Function) -> bool:
    return function[0] == "~"


def _is_waiting(function: Function) -> bool:
    return _is_built_in(function) and any(f"'{name}'" in function[2] for name in _IDLE)


def _title(function: Function) -> str:
    file, line, name = function
    if _is_built_in(function):
        return name
    return f"{'/'.join(Path(file).parts[-2:])}:{line}({name})"
