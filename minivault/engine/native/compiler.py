"""Compiles the C files beside this one, once for each processor, compiler and version of them."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-pthread", "-Wno-psabi")
# For the processor at hand: as GCC says it, as Clang says it for ARM, or as the compiler likes.
_TARGETS = (("-march=native",), ("-mcpu=native",), ())
_TIMEOUT = 120  # seconds


class CannotCompile(Exception):
    """There is no compiler, or it fails. The message says which, for a person."""


@dataclass(frozen=True, slots=True)
class Build:
    """A shared library, and the hash of everything its bits depend on."""

    path: Path
    key: str


@cache
def build(target: tuple[str, ...] | None = None) -> Build:
    """The library, made now or found where an earlier call has put it. Takes about a second.

    `target`: flags instead of those for the processor at hand. Raises CannotCompile.
    """
    compiler = _compiler()
    key = _key(compiler, target)
    path = _folder() / f"kernels-{key}.so"
    if not _is_own(path):
        _compile(compiler, (target,) if target is not None else _TARGETS, path)
    return Build(path, key)


def _compiler() -> str:
    named = os.environ.get("CC")
    for name in (named,) if named else ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return found
    raise CannotCompile(f"no C compiler was found ({named or 'cc, gcc, clang'})")


def _key(compiler: str, target: tuple[str, ...] | None) -> str:
    """Changes with whatever could change a bit, or make the code wrong for this processor."""
    parts = [*_FLAGS, *(target or ()), _run([compiler, "--version"]), _processor()]
    parts += [path.read_text(encoding="utf-8") for path in sorted(_SOURCES.glob("*.[ch]"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor's name and abilities; only Linux tells the latter."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return "\n".join(
        sorted({each for each in lines if each.startswith(("model", "flags", "Feat"))})
    )


def _folder() -> Path:
    """Where builds are kept: the user's cache, else a folder for this process alone."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "minivault"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(_passing_folder().name)


@cache
def _passing_folder() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="minivault-")


def _is_own(path: Path) -> bool:
    """Whether the file is there and nobody else has put it there or could have."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _compile(compiler: str, targets: tuple[tuple[str, ...], ...], path: Path) -> None:
    sources = [str(each) for each in sorted(_SOURCES.glob("*.c"))]
    handle, draft = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
    os.close(handle)
    try:
        for target in targets:
            command = [compiler, *_FLAGS, *target, *sources, "-lm", "-o", draft]
            try:
                _run(command)
            except CannotCompile:
                if target == targets[-1]:
                    raise
            else:
                break
        Path(draft).chmod(0o700)
        Path(draft).rename(path)  # whole at once, whoever else compiles at the same time
    finally:
        Path(draft).unlink(missing_ok=True)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except subprocess.CalledProcessError as error:
        words = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise CannotCompile(f"{command[0]} fails: {words}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{command[0]} fails: {error}") from error
    return done.stdout
