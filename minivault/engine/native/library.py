"""The C functions and structures, as the headers declare them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from cffi import FFI

from minivault.engine.native.compiler import Build, build
from minivault.engine.native.memory import LargePages
from minivault.engine.native.numbers import Array
from minivault.engine.runner import NoKernels
from minivault.errors import ModelUnusable

_HEADERS = ("team.h", "linear.h", "attention.h", "draw.h", "decoder.h", "check.h")


def _declared() -> FFI:
    """What the headers say, without the lines of their preprocessor."""
    found = FFI()
    for name in _HEADERS:
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        found.cdef("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return found


ffi = _declared()
constants: Any = ffi.dlopen(None)
"""The enumerators of the headers: `constants.PANEL`, `constants.INT8`."""

LANES = 16
"""Numbers of one vector; vectors.h, which only the C files read, has it as a macro."""


def loaded(target: tuple[str, ...] | None = None, *, pairs: bool = True) -> tuple[Build, Any]:
    """A build and its functions; one that cannot be loaded is made anew. Raises NoKernels."""
    built = build(target, pairs=pairs)
    try:
        return built, library(built.path)
    except OSError:  # in a folder that nothing may run from
        built = build(target, pairs=pairs, anew=True)
    try:
        return built, library(built.path)
    except OSError as error:
        raise NoKernels(f"the compiled C files cannot be loaded: {error}") from error


@cache
def library(path: Path) -> Any:
    """The functions of one build. A call gives the interpreter's lock away while it lasts."""
    return ffi.dlopen(str(path))


def new_team(functions: Any, threads: int) -> Any:
    """Threads that wait for work until `team_free`. Raises ModelUnusable."""
    team = functions.team_new(threads)
    if not team:
        raise ModelUnusable(f"the system gives no {threads} threads; use fewer (--threads)")
    return team


class Memory:
    """Structures hold addresses alone: this keeps what they point to for as long as it lives.

    `large`: where weights belong.
    """

    def __init__(self) -> None:
        self.large = LargePages()
        self._kept: list[object] = []

    def address(self, array: Array) -> Any:
        """Where an array begins, which is one run; it is kept, and must not be resized."""
        assert array.flags.c_contiguous
        self._kept.append(array)
        return ffi.cast("void *", array.ctypes.data)

    def new(self, declaration: str, fields: Any) -> Any:
        """A structure (`struct room *`) or an array of them, filled by name."""
        made = ffi.new(declaration, fields)
        self._kept.append((made, fields))
        return made
