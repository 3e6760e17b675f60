"""Compiles the C files beside this one, once for each processor, compiler and version of them."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
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
def build(target: tuple[str, ...] | None = None, *, anew: bool = False) -> Build:
    """The library, made now or found where an earlier call has put it. Takes about a second.

    `target`: flags instead of those for the processor at hand. `anew`: in a folder of this process
    alone, whatever lies where builds are kept. Raises CannotCompile.
    """
    try:
        compiler = _compiler()
        folder = _passing_folder() if anew else _folder()
        *others, last = _TARGETS if target is None else (target,)
        for each in others:
            try:
                return _built(compiler, each, folder)
            except CannotCompile:
                continue
        return _built(compiler, last, folder)
    except (OSError, RuntimeError) as error:  # no home, no room, no temporary folder
        raise CannotCompile(f"the compiled C files cannot be kept: {error}") from error


def _built(compiler: list[str], target: tuple[str, ...], folder: Path) -> Build:
    key = _key(compiler, target)
    path = folder / f"kernels-{key}.so"
    if not _is_own(path, stat.S_ISREG):
        _compile(compiler, target, path)
    return Build(path, key)


def _compiler() -> list[str]:
    """CC, which may have words after its name, or what there is."""
    named = shlex.split(os.environ.get("CC", ""))
    for name, *words in [named] if named else [["cc"], ["gcc"], ["clang"]]:
        if found := shutil.which(name):
            return [found, *words]
    raise CannotCompile(f"no C compiler was found ({' '.join(named) or 'cc, gcc, clang'})")


def _key(compiler: list[str], target: tuple[str, ...]) -> str:
    """Changes with whatever could change a bit, or make the code wrong for this processor."""
    parts = [*_FLAGS, *target, *compiler[1:], _run([*compiler, "--version"]), _processor()]
    parts += ["".join(platform.libc_ver())]  # its e^x draws tokens
    parts += [path.read_text(encoding="utf-8") for path in sorted(_SOURCES.glob("*.[ch]"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor's name and abilities; only Linux tells the latter."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    told = {each for each in lines if each.startswith(("model", "flags", "CPU", "Features"))}
    return "\n".join(sorted(told))


def _folder() -> Path:
    """Where builds are kept: the user's cache, if nobody else can write there."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "minivault"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_own(folder, stat.S_ISDIR) and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):
        pass
    return _passing_folder()


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="minivault-")


def _passing_folder() -> Path:
    return Path(_temporary().name)


def _is_own(path: Path, kind: Callable[[int], bool]) -> bool:
    """Whether it is there, of that kind, and nobody else has put it there or could change it."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return kind(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _compile(compiler: list[str], target: tuple[str, ...], path: Path) -> None:
    """Puts the library there whole at once, whoever else compiles at the same time."""
    sources = [str(each) for each in sorted(_SOURCES.glob("*.c"))]
    handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".part", dir=path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        _run([*compiler, *_FLAGS, *target, *sources, "-lm", "-o", name])
        draft.chmod(0o700)
        with draft.open("rb") as file:  # the linker may have put another one in its place
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    except subprocess.CalledProcessError as error:
        words = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise CannotCompile(f"{command[0]} fails: {words}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{command[0]} fails: {error}") from error
    return done.stdout
