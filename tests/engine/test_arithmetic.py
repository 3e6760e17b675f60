"""One arithmetic on every machine: compilers, processors and numbers of threads change no bit."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from minivault.engine.exact import Doubles, cosines_and_sines, exponentials, logarithm, powers
from minivault.engine.native import arithmetic, compiler, library
from minivault.engine.native.arithmetic import ANSWERS, PORTABLE
from tests.engine.gpt2_models import load, save_gpt2
from tests.processes import minivault
from tests.tools import FULL, older_processors, tool, zig

X86 = os.uname().machine == "x86_64"
WITHOUT_FUSED_SUMS = ("-march=x86-64",)
BUILDS = [None, *(each for each in older_processors() if each != WITHOUT_FUSED_SUMS)]


def runs(flag: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif((flag,) not in BUILDS, reason="not this processor's code")


DRIVER = Path(__file__).with_name("answers.c")


def answers(target: tuple[str, ...] | None, threads: int, *, pairs: bool = True) -> tuple[int, ...]:
    tool("cc")
    _, functions = library.loaded(target, pairs=pairs)
    return arithmetic.answers(functions, threads)


def with_product(fault: int) -> tuple[str, ...]:
    """Flags for a processor whose product of bfloat16 has a fault; see the header."""
    header = Path(__file__).with_name("product.h")
    version = hashlib.sha256(header.read_bytes()).hexdigest()[:16]
    flags = (f"-DFAULT={fault}", f"-DVERSION={version}", "-include", str(header))
    return ("-march=x86-64-v4", "-O1", *flags)


@pytest.mark.parametrize("target", BUILDS)
def test_every_build_comes_to_the_answers_that_stand_here(target: tuple[str, ...] | None) -> None:
    for threads in (1, 2, 3, 4):
        assert answers(target, threads) == ANSWERS


@pytest.mark.skipif(not X86, reason="every other processor fuses sums")
def test_a_processor_without_fused_sums_says_that_its_texts_are_its_own(tmp_path: Path) -> None:
    assert not set(answers(WITHOUT_FUSED_SUMS, 1)) & set(ANSWERS)
    folder = save_gpt2(tmp_path)
    runner = load(folder, target=WITHOUT_FUSED_SUMS)
    assert str(runner.description["arithmetic"]).startswith("own-")
    assert len(str(runner.description["build"])) == 16
    assert "cannot run the portable arithmetic" in str(runner.notice)
    usual = load(folder, threads=2)
    assert usual.notice is None
    assert usual.description == {
        "runner": "native",
        "architecture": "gpt2",
        "dtype": "float32",
        "device": "cpu",
        "arithmetic": "portable-1",
    }


def test_bfloat16_is_the_same_with_the_processors_own_product_and_without() -> None:
    _, functions = library.loaded()
    if not functions.check_pairs():
        pytest.skip("no product of bfloat16")
    assert answers(None, 2, pairs=False) == answers(None, 2) == ANSWERS


@pytest.mark.slow
@runs("-march=x86-64-v4")
def test_a_product_of_bfloat16_that_is_at_fault_is_done_without(tmp_path: Path) -> None:
    folder, faulty = save_gpt2(tmp_path), with_product(1)
    runner = load(folder, dtype="bfloat16", target=faulty)
    assert runner.description["arithmetic"] == "portable-3"
    assert runner.notice == arithmetic.WITHOUT_PAIRS
    assert load(folder, dtype="int8", target=faulty).notice is None


@pytest.mark.slow
@runs("-march=x86-64-v4")
@pytest.mark.skipif(not FULL, reason="a build for each")
@pytest.mark.parametrize("fault", [0, 1, 2, 3, 4])
def test_every_fault_of_a_product_of_bfloat16_is_found(fault: int) -> None:
    wrong = [n for n, each in enumerate(answers(with_product(fault), 1)) if each != ANSWERS[n]]
    assert wrong == ([library.constants.BFLOAT16] if fault else [])


def test_another_answer_is_another_name() -> None:
    changed = list(ANSWERS)
    changed[3] ^= 1
    assert arithmetic.name(ANSWERS, {0}) == "portable-1"
    assert arithmetic.name(ANSWERS, {0, 3}) == "portable-2"
    assert arithmetic.name(ANSWERS, {0, 1}) == arithmetic.name(ANSWERS, {1, 2}) == "portable-3"
    assert arithmetic.name(changed, {0, 2}) == "portable-2"
    names = {arithmetic.name(changed, {3, n}) for n in (0, 2)}
    assert len(names | set(PORTABLE)) == 5


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="compiles everything with another compiler")
@pytest.mark.parametrize(
    "words, run",
    [
        (["-mcpu=native"], []),
        pytest.param(["-mcpu=x86_64_v3"], [], marks=runs("-march=x86-64-v3")),
        pytest.param(["-mcpu=x86_64_v4"], [], marks=runs("-march=x86-64-v4")),
        (["-target", "aarch64-linux-musl"], ["qemu-aarch64"]),
        (["-target", "aarch64-linux-musl", "-mcpu=neoverse_n1"], ["qemu-aarch64"]),
    ],
    ids=["native", "v3", "v4", "aarch64", "aarch64 with dot products"],
)
def test_another_compiler_and_another_kind_of_processor_come_to_the_same(
    tmp_path: Path, words: list[str], run: list[str]
) -> None:
    emulator = [tool(each) for each in run]
    flags = [each for each in compiler._FLAGS if each != "-fPIC"]
    sources = Path(library.__file__).parent
    binary = tmp_path / "answers"
    compile_it = [*zig(), *flags, *words, f"-I{sources}"]
    places = {f"ZIG_{each}_CACHE_DIR": str(tmp_path) for each in ("LOCAL", "GLOBAL")}
    subprocess.run(
        [*compile_it, *map(str, sources.glob("*.c")), str(DRIVER), "-lm", "-o", str(binary)],
        check=True,
        env=os.environ | places,
    )
    said = subprocess.run([*emulator, binary], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == [" ".join(f"{each:016x}" for each in ANSWERS)] * 4


@pytest.mark.slow
@pytest.mark.skipif(not X86, reason="it has no other build that it can run")
def test_a_log_of_one_kind_of_processor_is_replayed_on_another(tmp_path: Path) -> None:
    old = tmp_path / "old-processor"
    old.write_text(f'#!/bin/sh\nexec {tool("cc")} "$@" $(test $# -gt 3 && echo -march=x86-64-v3)\n')
    old.chmod(0o755)

    def run(compiler: str, *words: str) -> str:
        done = minivault(*words, cwd=tmp_path, timeout=400, CC=compiler)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    ask = ("generate", "Once upon a time", "--model", "storyteller", "--max-tokens", "20")
    run(str(old), *ask, "--threads", "1")
    run("cc", *ask, "--threads", "2", "--dtype", "int4")
    for place in (str(old), "cc"):
        assert "2 same, 0 differs" in run(place, "logs", "replay", "--all")


def test_functions_are_right_to_the_fifteenth_digit() -> None:
    dice = np.random.default_rng(0)
    angles: Doubles = dice.uniform(-1e5, 1e6, 20_000)
    cosines, sines = cosines_and_sines(angles)
    assert np.abs(cosines - np.cos(angles)).max() < 4e-15
    assert np.abs(sines - np.sin(angles)).max() < 4e-15
    x = -dice.uniform(0, 700, 20_000)
    assert np.abs(exponentials(x) / np.exp(x) - 1).max() < 1e-15
    assert exponentials(np.array([0.0, -709.0, -np.inf])).tolist() == [1.0, 0.0, 0.0]
    assert np.allclose(powers(1e6, x / 70), 1e6 ** (x / 70), rtol=1e-15, atol=0)
    assert logarithm(10.0) == pytest.approx(math.log(10), rel=1e-15)


def test_functions_come_to_the_bits_that_stand_here() -> None:
    """Whatever the processor, the system and the libraries are."""
    numbers: Doubles = np.arange(1, 5001, dtype=np.float64) * 3.7
    every = [*cosines_and_sines(numbers * 11), exponentials(-numbers / 27)]
    every += [powers(500_000.0, numbers[:64] / 300), np.array([logarithm(n) for n in (2.0, 1e6)])]
    assert hashlib.sha256(np.concatenate(every).tobytes()).hexdigest()[:16] == "6aaba735535d7435"
