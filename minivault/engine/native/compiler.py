"""Compiles the C files beside this one, once for each processor, compiler and version of them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minivault.engine.processor import available_cores
from minivault.engine.runner import NoKernels

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fPIC", "-pthread", "-Wno-psabi")
# For the processor at hand: as GCC says it, as Clang says it for ARM, or as the compiler likes.
_TARGETS = (("-march=native",), ("-mcpu=native",), ())
_NAMES = ("cc", "gcc", "clang")
_INSTALL = (
    "install one (Debian and Ubuntu: apt install gcc libc6-dev; elsewhere: pip install ziglang)"
)
_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Build:
    """A shared library, and the hash of everything its bits depend on."""

    path: Path
    key: str


@dataclass(frozen=True, slots=True)
class Compiler:
    """A C compiler as a command, and the seconds that it may do nothing in before it hangs."""

    command: tuple[str, ...]
    patience: float = 20.0


class _Hangs(Exception):
    """A compiler's time is up."""


@cache
def build(
    target: tuple[str, ...] | None = None, *, pairs: bool = True, anew: bool = False
) -> Build:
    """The library, made now or found where an earlier call has put it. Takes a few seconds.

    `target`: flags instead of those for the processor at hand. `pairs`: with its own product of
    bfloat16, if it has one. `anew`: in a folder of this process alone, whatever lies where builds
    are kept. Raises NoKernels.
    """
    targets: tuple[tuple[str, ...], ...] = _TARGETS if target is None else (target,)
    if not pairs:
        targets = tuple((*each, "-DWITHOUT_PAIRS") for each in targets)
    failures = []
    try:
        folder = _passing_folder() if anew else _folder()
        for compiler in compilers():
            try:
                return _build_by(compiler, targets, folder)
            except NoKernels as error:
                failures.append(str(error))
    except (OSError, RuntimeError) as error:  # no home, no room, no temporary folder
        raise NoKernels(f"the compiled C files cannot be kept: {error}") from error
    raise NoKernels(f"{'; '.join(failures)}; mend that, or {_INSTALL}")


def compilers() -> list[Compiler]:
    """Those to try, in order: what CC names (words may follow), else all there are.

    Raises NoKernels where there is none.
    """
    named = shlex.split(os.environ.get("CC", ""))
    if named:
        found = shutil.which(named[0])
        if not found:
            raise NoKernels(f"CC={shlex.join(named)} is no command; mend that, or {_INSTALL}")
        return [Compiler((found, *named[1:]))]
    paths = [path for name in _NAMES if (path := shutil.which(name))]
    once = {os.path.realpath(path): path for path in reversed(paths)}  # cc is often gcc
    every = [Compiler((path,)) for path in paths if path in once.values()]
    if importlib.util.find_spec("ziglang"):
        every.append(Compiler((sys.executable, "-m", "ziglang", "cc")))
    if not every:
        raise NoKernels(f"no C compiler was found ({', '.join(_NAMES)}, ziglang); {_INSTALL}")
    return every


def _build_by(compiler: Compiler, targets: tuple[tuple[str, ...], ...], folder: Path) -> Build:
    """By the first of these flags that the compiler takes."""
    name = shlex.join(compiler.command)
    mark = folder / f"hangs-{_identity(compiler)}"
    if mark.exists() and time.time() - mark.stat().st_mtime < _DAY:
        raise NoKernels(f"{name} did not answer, and is left alone for a day (or remove {mark})")
    try:
        version = _run([*compiler.command, "--version"], compiler.patience)
        *others, last = targets
        for target in others:
            try:
                return _built(compiler, version, target, folder)
            except NoKernels:
                continue
        return _built(compiler, version, last, folder)
    except _Hangs:
        mark.touch()
        raise NoKernels(f"{name} did not answer for {compiler.patience:.0f} s") from None


def _identity(compiler: Compiler) -> str:
    """Changes when the compiler does."""
    found = os.stat(compiler.command[0])
    parts = [*compiler.command, str(found.st_mtime_ns), str(found.st_size)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _built(compiler: Compiler, version: str, target: tuple[str, ...], folder: Path) -> Build:
    key = _key(version, (*compiler.command, *target))
    path = _kept(folder, key) or _compile(compiler, target, folder / f"kernels-{key}")
    return Build(path, key)


def _kept(folder: Path, key: str) -> Path | None:
    """What an earlier call made, if it still is what its name says; else it is taken away."""
    for path in sorted(folder.glob(f"kernels-{key}-*.so")):
        if _is_own(path, stat.S_ISREG) and path.stem.endswith(_digest(path)):
            return path
        path.unlink(missing_ok=True)
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _key(version: str, words: tuple[str, ...]) -> str:
    """Changes with whatever could make the code another, or wrong for this processor."""
    told = [line for line in version.splitlines() if not line.startswith("InstalledDir")]
    parts = [*_FLAGS, *words, *told, _processor()]
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


def _compile(compiler: Compiler, target: tuple[str, ...], stem: Path) -> Path:
    """Puts the library there whole at once, whoever else compiles at the same time.

    Its name ends with its hash, so that one that was damaged since is never run.
    """
    with tempfile.TemporaryDirectory(prefix="compiling-", dir=stem.parent) as place:

        def run(*words: str) -> None:
            command = [*compiler.command, *_FLAGS, *target, *words]
            _run(command, compiler.patience, zig_cache=place)

        def compiled(source: Path) -> str:
            made = f"{place}/{source.stem}.o"
            run("-c", str(source), "-o", made)
            return made

        draft = Path(place) / "kernels.so"
        with ThreadPoolExecutor(available_cores()) as workers:
            parts = list(workers.map(compiled, sorted(_SOURCES.glob("*.c"))))
        run("-shared", *parts, "-lm", "-o", str(draft))
        draft.chmod(0o700)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        return draft.rename(stem.with_name(f"{stem.name}-{_digest(draft)}.so"))


def _run(command: list[str], patience: float, zig_cache: str | None = None) -> str:
    """What it prints. Raises NoKernels if it fails, _Hangs if it works no longer."""
    variables = {"ZIG_GLOBAL_CACHE_DIR": zig_cache, "ZIG_LOCAL_CACHE_DIR": zig_cache}
    environment = os.environ | {name: each for name, each in variables.items() if each}
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
        ) as process:
            said, complained = _communicate(process, patience)
    except OSError as error:
        raise NoKernels(f"{command[0]} fails: {error}") from error
    if process.returncode:
        last = (complained.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise NoKernels(f"{command[0]} fails: {last}")
    return said


def _communicate(process: subprocess.Popen[str], patience: float) -> tuple[str, str]:
    """What it prints. A busy machine is slow: what counts is whether the processes work at all."""
    begin, worked = time.monotonic(), 0.0
    while True:
        try:
            return process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            now = _processor_time(process.pid)
            if now - worked < patience / 100 or time.monotonic() - begin > 15 * patience:
                os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
                raise _Hangs from None
            worked = now


def _processor_time(group: int) -> float:
    """Seconds that the processes of a group have worked; only Linux tells."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))  # of its own, and of its ended children
    return ticks / os.sysconf("SC_CLK_TCK")
