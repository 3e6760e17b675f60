"""The C files are compiled once, by whatever compiler is there; what was damaged is never run."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from minivault.engine.native import compiler as compiling
from minivault.engine.native import library
from minivault.engine.native.compiler import Compiler, build
from minivault.engine.runner import NoKernels
from tests.engine.gpt2_models import load, save_gpt2
from tests.tools import FULL, tool, zig

ANSWER = "int answer(void) { return 42; }"


@pytest.fixture
def nothing_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache."""
    tool("cc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.cache_clear()
    yield tmp_path / "cache" / "minivault"
    build.cache_clear()


@pytest.fixture
def cached(nothing_built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and one small C file instead of ours, which is compiled at once."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "answer.c").write_text(ANSWER, encoding="utf-8")
    monkeypatch.setattr(compiling, "_SOURCES", sources)
    return nothing_built


def built_again() -> compiling.Build:
    """As the next process would have it."""
    build.cache_clear()
    return build()


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), encoding="utf-8")
    path.chmod(0o700)
    return path


def test_a_build_is_made_once_and_is_its_owners_alone(cached: Path) -> None:
    first = build()
    made = first.path.stat()
    assert list(cached.iterdir()) == [first.path]
    assert stat.S_IMODE(cached.stat().st_mode) == 0o700
    assert built_again() == first
    assert first.path.stat().st_mtime_ns == made.st_mtime_ns
    first.path.chmod(0o777)  # anybody could have written there
    assert built_again().path.stat().st_mtime_ns != made.st_mtime_ns


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:4096] + bytes(4096) + data[8192:],
        lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
        lambda data: bytes([data[0] ^ 16]) + data[1:],
        lambda data: data[:5000] + bytes([data[5000] ^ 2]) + data[5001:],
    ],
    ids=["empty", "cut", "a page of zeros", "a late bit", "the first byte", "a bit"],
)
def test_a_library_that_was_damaged_is_made_anew_before_it_is_run(
    cached: Path, damage: Callable[[bytes], bytes]
) -> None:
    first = build()
    whole = first.path.read_bytes()
    first.path.write_bytes(damage(whole))
    again = built_again()
    assert (again.key, again.path.read_bytes()) == (first.key, whole)
    assert ctypes.CDLL(str(again.path)).answer() == 42
    assert list(cached.iterdir()) == [again.path]


def test_a_name_alone_makes_no_library(cached: Path) -> None:
    first = build()
    first.path.unlink()
    with_another_hash = first.path.with_name(f"kernels-{first.key}-{'0' * 64}.so")
    with_another_hash.write_bytes(b"put there by somebody")
    with_another_hash.chmod(0o700)
    assert ctypes.CDLL(str(built_again().path)).answer() == 42
    assert not with_another_hash.exists()


@pytest.mark.parametrize("place", ["/proc/nowhere", "shared"])
def test_where_nothing_can_be_kept_it_is_built_elsewhere(
    cached: Path, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    (shared / "minivault").mkdir(parents=True)
    (shared / "minivault").chmod(0o777)  # anybody could put another library there
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared) if place == "shared" else place)
    assert build().path.exists()
    assert list((shared / "minivault").iterdir()) == []


def test_without_a_home_or_any_folder_it_says_so(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setattr(compiling, "_passing_folder", nowhere)
    with pytest.raises(NoKernels, match="cannot be kept"):
        build()


def test_a_library_that_cannot_be_loaded_is_made_anew(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a folder that nothing may run from."""
    kept = build().path
    load_library = library.library

    def refusing(path: Path) -> object:
        if path == kept:
            raise OSError("failed to map segment from shared object")
        return load_library(path)

    monkeypatch.setattr(library, "library", refusing)
    made, _ = library.loaded()
    assert made.path != kept
    assert ctypes.CDLL(str(made.path)).answer() == 42


def test_the_key_changes_with_the_files_the_flags_and_the_processor(
    cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build().key
    assert build(()).key != first
    with monkeypatch.context() as changed:
        changed.setattr(compiling, "_processor", lambda: "another one")
        assert built_again().key != first
    (compiling._SOURCES / "answer.c").write_text(f"{ANSWER} /* another */", encoding="utf-8")
    assert built_again().key != first


def test_compilers_do_not_share_what_they_make(
    cached: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One may be a script that gives the other more flags."""
    usual = build()
    monkeypatch.setenv("CC", str(script(tmp_path / "cc", f'exec {tool("cc")} "$@"')))
    assert built_again().key != usual.key


def test_flags_that_the_compiler_refused_for_once_are_not_taken_for_others(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moody = script(
        tmp_path / "moody",
        f'case "$*" in *march=native*) [ -e {tmp_path}/once ] || '
        f"{{ touch {tmp_path}/once; exit 1; }};; esac",
        'exec cc "$@"',
    )
    monkeypatch.setenv("CC", str(moody))
    general = build()
    assert built_again().key != general.key


# ---- which compiler -----------------------------------------------------------------------------


def test_a_compiler_that_fails_leaves_the_work_to_the_next(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cc is there and its C library is not: what Debian's gcc is without libc6-dev."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script(tools / "cc", "exit 1")
    script(tools / "clang", f'exec {shutil.which("cc")} "$@"')
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(compiling, "_NAMES", ("cc", "clang"))
    assert ctypes.CDLL(str(build().path)).answer() == 42


@pytest.mark.parametrize("command", ["no-such-compiler", "false"])
def test_what_cc_names_is_taken_alone_and_what_would_mend_it_is_said(
    cached: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    with pytest.raises(NoKernels, match=f"{command}.*pip install ziglang"):
        build()


def test_without_any_the_one_of_the_package_index_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "ziglang")
    [zig] = compiling.compilers()
    assert zig.command == (sys.executable, "-m", "ziglang", "cc")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoKernels, match=r"no C compiler was found .*pip install ziglang"):
        compiling.compilers()


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="compiles everything with another compiler")
def test_the_one_of_the_package_index_makes_what_cc_makes(
    nothing_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_gpt2(tmp_path / "model")
    expected = load(folder).log_probabilities(list(range(150)))
    monkeypatch.setenv("CC", shlex.join(zig()))
    build.cache_clear()
    assert np.array_equal(load(folder).log_probabilities(list(range(150))), expected)


def test_a_compiler_that_hangs_is_waited_for_once(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = script(tmp_path / "hanging", f"echo tried >> {tmp_path}/tries", "sleep 100")
    monkeypatch.setattr(compiling, "compilers", lambda: [Compiler((str(hanging),), patience=1)])
    begin = time.monotonic()
    for _ in range(3):
        with pytest.raises(NoKernels, match="did not answer"):
            built_again()
    assert time.monotonic() - begin < 20
    assert (tmp_path / "tries").read_text(encoding="utf-8") == "tried\n"
    [mark] = cached.glob("hangs-*")
    with pytest.raises(NoKernels, match=f"remove {mark}"):
        built_again()
    script(hanging, 'exec cc "$@"')  # another one by that name gets its own chance
    monkeypatch.setattr(compiling, "compilers", lambda: [Compiler((str(hanging),), patience=60)])
    assert ctypes.CDLL(str(built_again().path)).answer() == 42


@pytest.mark.slow
def test_a_compiler_that_works_is_waited_for(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is busy with other things."""
    spin = 'case "$*" in *-c*) i=0; while [ $i -lt 1500000 ]; do i=$((i+1)); done;; esac'
    slow = script(tmp_path / "slow", spin, 'exec cc "$@"')
    monkeypatch.setattr(compiling, "compilers", lambda: [Compiler((str(slow),), patience=1)])
    assert ctypes.CDLL(str(build().path)).answer() == 42
    assert not list(cached.glob("hangs-*"))
