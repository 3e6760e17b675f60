"""The C files: right, the same at every place, on older processors too, and never required."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from minivault.bench.models import SHAPES, make_random_model
from minivault.engine.engine import Engine
from minivault.engine.native import arithmetic, checkpoint, library
from minivault.engine.native import compiler as compiling
from minivault.engine.native.compiler import build
from minivault.engine.native.decoder import Decoder
from minivault.engine.native.description import Activation, Weights
from minivault.engine.native.groups import GROUP, Groups, Kind, quantized
from minivault.engine.native.library import Memory
from minivault.engine.native.numbers import Floats
from minivault.engine.native.packing import packed
from minivault.engine.native.runner import NativeRunner
from minivault.engine.native.structures import operand
from minivault.engine.runner import Dtype
from minivault.engine.sequence import SamplingParams
from minivault.errors import ModelUnusable
from tests.engine.gpt2_models import (
    SMALL,
    load,
    make_sequence,
    prefilled,
    random_prompt,
    random_weights,
    save_files,
    save_gpt2,
)
from tests.tools import FULL, older_processors, tool

pytestmark = pytest.mark.usefixtures("compiler")
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
every_target = pytest.mark.parametrize(
    "target", [None, *older_processors()], ids=lambda flags: " ".join(flags or ())
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


class Product:
    """One product, called as the model calls it."""

    def __init__(
        self,
        dtype: Dtype,
        weight: Tensor | Groups,
        bias: Tensor | None = None,
        activation: Activation | None = None,
        *,
        gated: bool = False,
        threads: int = 2,
        target: tuple[str, ...] | None = None,
    ) -> None:
        self._library = library.library(build(target).path)
        self._memory = Memory()
        weights = Weights(
            weight if isinstance(weight, Groups) else weight.numpy(),
            None if bias is None else bias.numpy(),
        )
        fields = packed(self._memory, dtype, weights, activation, gated=gated)
        self._linear = self._memory.new("struct linear *", fields)
        self._team = self._library.team_new(threads)

    def __call__(self, x: Tensor, *, into: Tensor | None = None) -> Tensor:
        linear, memory = self._linear, Memory()
        rows = memory.new("struct operand *", operand(memory, len(x), linear.inputs))
        for row, numbers in enumerate(x.contiguous()):
            where = memory.address(numbers.numpy())
            self._library.operand_set(rows, linear.kind, row, where, len(numbers))
        y = torch.zeros(len(x), linear.outputs) if into is None else into
        whole = len(x), memory.address(y.numpy()), len(y[0]), into is not None
        self._library.team_wake(self._team)
        self._library.linear_run(self._team, linear, rows, *whole)
        self._library.team_rest(self._team)
        return y

    def close(self) -> None:
        self._library.team_free(self._team)


def drawn(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def exact(dtype: Dtype, x: Tensor, weight: Tensor | Groups, bias: Tensor) -> Tensor:
    """The same product in float64, of numbers as narrow as the width makes them."""
    if isinstance(weight, Tensor) and dtype in ("int8", "int4"):
        weight = quantized(weight.numpy(), 8 if dtype == "int8" else 4)
    if isinstance(weight, Groups):
        weight, x = torch.from_numpy(weight.values()), in_steps(x)
    elif dtype == "bfloat16":
        weight, x = weight.bfloat16(), x.bfloat16()
    return functional.linear(x.double(), weight[:, : x.shape[1]].double(), bias.double())


def in_steps(rows: Tensor) -> Tensor:
    """By groups of 32."""
    groups = functional.pad(rows, (0, -rows.shape[1] % GROUP)).view(len(rows), -1, GROUP)
    steps = groups.abs().amax(2, keepdim=True).clamp_min(1e-30) / 127
    found: Tensor = ((groups / steps).round() * steps).flatten(1)
    return found[:, : rows.shape[1]]


def random_groups(kind: Kind, outputs: int, inputs: int) -> Groups:
    """Any bytes that a file may hold, the extremes among them."""
    dice = np.random.default_rng(5)
    shape = outputs, inputs // GROUP
    numbers = dice.integers(0, 256, (*shape, 32 if kind == "int8" else 16), np.uint8)
    numbers[: outputs // 4], numbers[outputs // 4 : outputs // 2] = 0, 255
    scale, least = dice.normal(0, 0.01, (2, *shape)).astype(np.float16)
    scale[0, 0] = 6e-8  # the least there is
    return Groups(kind, numbers, scale, least if kind == "int4_least" else None)


@pytest.fixture(scope="module")
def compiler() -> str:
    return tool("cc")


@pytest.mark.slow
@every_target
def test_the_c_files_are_compiled_without_a_warning(
    compiler: str, target: tuple[str, ...] | None
) -> None:
    strict = ["-Wall", "-Wextra", "-Werror", *(target or ["-march=native"])]
    # What can be seen of the flow is seen with -O1 too, in half of the time, and of one processor.
    how = ["-O1", "-c", "-o", os.devnull] if FULL or not target else ["-fsyntax-only"]
    for file in Path(library.__file__).parent.glob("*.c"):
        command = [compiler, *compiling._FLAGS, *strict, *how, file]
        said = subprocess.run(command, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr


@every_target
@every_dtype
@pytest.mark.parametrize("inputs,outputs", [(48, 144), (41, 33), (100, 203), (3072, 100)])
def test_a_product_is_right(
    dtype: Dtype, inputs: int, outputs: int, target: tuple[str, ...] | None
) -> None:
    weight, bias, x = drawn(outputs, inputs), drawn(outputs, seed=1), drawn(19, inputs, seed=2)
    product = Product(dtype, weight, bias, target=target)
    expected = exact(dtype, x, weight, bias)
    found = product(x).double()
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-5
    before = drawn(19, outputs, seed=3)
    grown = product(x, into=before.clone())
    assert torch.equal(grown, before + product(x))
    product.close()


@every_target
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_product_of_groups_is_right(kind: Kind, target: tuple[str, ...] | None) -> None:
    weight, bias, x = random_groups(kind, 203, 96), drawn(203, seed=1), drawn(19, 96, seed=2)
    x[0], x[1, :32], x[2, ::2] = 1, 0, -1
    product = Product("float32", weight, bias, target=target)
    expected = exact("float32", x, weight, bias)
    found = product(x).double()
    product.close()
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-6


@every_target
@every_dtype
def test_a_gated_product_is_its_values_times_what_their_gates_say(
    dtype: Dtype, target: tuple[str, ...] | None
) -> None:
    weight, bias, x = drawn(2 * 41, 64), drawn(2 * 41, seed=1), drawn(9, 64, seed=2)
    first, second = zip(weight.chunk(2), bias.chunk(2), strict=True)
    gates = Product(dtype, *first, "silu", target=target)(x)
    values = Product(dtype, *second, target=target)(x)
    found = Product(dtype, weight, bias, "silu", gated=True, target=target)(x)
    assert torch.equal(found, gates * values)


@every_target
def test_products_of_bfloat16_take_for_zero_what_is_below_the_smallest(
    target: tuple[str, ...] | None,
) -> None:
    """2^-56: the product of two such is far from what any processor takes for zero."""
    numbers = torch.tensor([2.0**-56, -(2.0**-56), 2.0**-56 * (1 - 2.0**-8), -(2.0**-57), 2e-39])
    kept = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0]) * 2.0**-112
    rows, ones = torch.diag(numbers), torch.full((1, 5), 2.0**-56)
    assert Product("bfloat16", ones, target=target)(rows)[:, 0].tolist() == kept.tolist()
    assert Product("bfloat16", rows, target=target)(ones)[0].tolist() == kept.tolist()


@every_target
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "relu", "silu"])
def test_an_activation_is_right(name: Activation, target: tuple[str, ...] | None) -> None:
    x = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4])])
    product = Product("float32", torch.ones(1, 1), None, name, target=target)
    found = product(x[:, None])[:, 0]
    product.close()
    expected = {
        "gelu": functional.gelu(x.double()),
        "gelu_tanh": functional.gelu(x.double(), approximate="tanh"),
        "relu": functional.relu(x.double()),
        "silu": functional.silu(x.double()),
    }[name]
    assert float((found - expected).abs().max()) < 2e-6


@every_target
@every_dtype
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_product_gives_a_row_the_same_bits_at_every_place(
    dtype: Dtype, threads: int, target: tuple[str, ...] | None
) -> None:
    product = Product(
        dtype, drawn(203, 76), drawn(203, seed=1), "gelu", threads=threads, target=target
    )
    row = drawn(76, seed=5)
    alone = product(row[None])[0]
    for size in (2, 3, 5, 7, 8, 9, 16, 17, 33, 100, 512):
        for first in (0, 1):  # at every other place, others between them
            batch = drawn(size, 76, seed=size)
            batch[first::2] = row
            found = product(batch)[first::2]
            assert torch.equal(found, alone.expand_as(found)), (size, first)
    product.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_gpt2(tmp_path / "model")


@every_target
@every_dtype
def test_a_step_gives_a_row_the_same_bits_at_every_place(
    folder: Path, dtype: Dtype, target: tuple[str, ...] | None
) -> None:
    model = load(folder, dtype=dtype, threads=2, target=target)._decoder
    prompt = random_prompt(1, 40)
    expected = None
    for size in (1, 2, 5, 8, 9, 17, 32):
        for first in (0, 1):  # at every other place, others between them
            slots = [model.cache.take() for _ in range(size)]
            texts = [random_prompt(n, 2 + n) for n in range(size)]
            texts[first::2] = [prompt] * len(texts[first::2])
            for slot, tokens in zip(slots, texts, strict=True):
                model.prefill(slot, 0, tokens[:-1])
            model.run([each[-1] for each in texts], slots, [len(each) - 1 for each in texts])
            found = model.logits(size)[first::2].copy()
            for slot in slots:
                model.cache.give_back(slot)
            expected = found[0] if expected is None else expected
            assert (found == expected).all(), (size, first)


@every_target
def test_draws_of_several_threads_keep_to_their_room(
    tmp_path: Path, target: tuple[str, ...] | None
) -> None:
    """However wide a vector is. A vocabulary smaller than this one hides it."""
    runner = load(save_gpt2(tmp_path, vocab_size=6000), threads=2, target=target)
    engine = Engine(runner)
    room = 2 * (6000 // 16 + 16)
    maxima = np.full(8 * room, 7, np.float32)
    runner._decoder._draw.maxima = library.ffi.cast("float *", maxima.ctypes.data)
    for seed in range(8):
        engine.add(make_sequence([1, 2, 3 + seed]))
    while engine.busy:
        engine.step()
    assert (maxima[:room] != 7).any()
    assert (maxima[room:] == 7).all()


@every_dtype
@pytest.mark.parametrize("activation", ["gelu_new", "relu"])
def test_what_is_no_number_is_never_said(
    tmp_path: Path, dtype: Dtype, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are none are refused at load; numbers can become none in between as well."""
    monkeypatch.setattr(checkpoint, "refuse_no_numbers", lambda name, numbers: None)
    config = SMALL | {"activation_function": activation}
    for name in ("h.0.attn.c_attn.bias", "h.1.mlp.c_fc.bias", "ln_f.bias"):
        weights = random_weights(config)
        weights[name][-1] = torch.nan
        save_files(tmp_path / name, config, weights)
        runner = load(tmp_path / name, dtype=dtype)
        sequence = make_sequence(random_prompt(1, 5))
        assert runner.prefill(sequence)
        assert runner.draw([sequence])[0] == [-1]


@pytest.mark.parametrize("length", [2, 5, 16, 17])
def test_scores_that_are_all_minus_infinity_make_no_number(tmp_path: Path, length: int) -> None:
    weights = random_weights(SMALL)
    weights["h.0.attn.c_attn.bias"][:96] = 3e38  # queries and keys: their products are infinite
    weights["h.0.attn.c_attn.bias"][48:96] *= -1
    save_files(tmp_path, SMALL, weights)
    runner = load(tmp_path, dtype="float32")
    sequence = make_sequence(random_prompt(1, length))
    assert runner.prefill(sequence)
    assert runner.draw([sequence])[0] == [-1]


@pytest.mark.parametrize("token", [203, 10**6])
def test_a_token_that_the_model_does_not_know_ends_its_own_sequence(
    folder: Path, token: int
) -> None:
    runner = load(folder)
    engine = Engine(runner)
    good, bad = make_sequence([1, 2, 3]), make_sequence([1, token, 3])
    outputs = []
    for each in (good, bad):
        engine.add(each)
    while engine.busy:
        outputs += engine.step()
    ends = {each.sequence: each for each in outputs if each.finish}
    assert isinstance(ends[bad].error, IndexError)
    assert len(good.generated) == 8
    with pytest.raises(IndexError):
        runner.log_probabilities([1, token, 3])


def test_without_threads_the_model_is_unusable(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, functions = library.loaded()

    class Poor:
        team_new = staticmethod(lambda threads: library.ffi.NULL)

        def __getattr__(self, name: str) -> Any:
            return getattr(functions, name)

    monkeypatch.setattr(arithmetic, "loaded", lambda *_, **__: (built, Poor()))
    with pytest.raises(ModelUnusable, match="no 3 threads"):
        load(folder, threads=3)


@every_dtype
def test_a_decoded_token_has_the_keys_and_values_of_a_prefilled_one(
    folder: Path, dtype: Dtype
) -> None:
    model = load(folder, dtype=dtype)._decoder
    prompt = random_prompt(2, 64)
    slots = [model.cache.take() for _ in range(2)]
    model.prefill(slots[0], 0, prompt)
    for position, token in enumerate(prompt):
        model.run([token], [slots[1]], [position])
    one, other = (model.cache.part(slot, 0, 64) for slot in slots)
    assert (one == other).all()


@every_dtype
def test_what_a_prompt_has_left_goes_through_the_first_step_with_the_others(
    folder: Path, dtype: Dtype
) -> None:
    """More of them than there is room for in one step, too."""
    prompts = [random_prompt(n, length) for n, length in enumerate((1, 2, 40, 33, 64, 65, 66, 100))]
    expected = [first_logits(load(folder, dtype=dtype), [each]) for each in prompts]
    together = first_logits(load(folder, dtype=dtype, threads=3), prompts)
    assert together == [logits for (logits,) in expected]


def test_a_prompt_that_fits_is_not_run_by_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = load(folder)
    monkeypatch.setattr(runner._decoder, "prefill", None)
    assert first_logits(runner, [random_prompt(1, 64)])
    with pytest.raises(TypeError):
        first_logits(runner, [random_prompt(1, 65)])


def test_a_prompt_that_is_prefilled_may_be_again(folder: Path) -> None:
    runner, prompts = load(folder), [random_prompt(1, 30)]
    expected = first_logits(runner, prompts)
    [again] = [prefilled(runner, prompt) for prompt in prompts]
    assert runner.prefill(again)
    [row] = runner.draw([again])[1]
    assert row.tolist() == expected[0][0]


def test_a_context_of_one_token_can_be_loaded(tmp_path: Path) -> None:
    assert load(save_gpt2(tmp_path, n_positions=1)).reproducible


def first_logits(runner: NativeRunner, prompts: list[list[int]]) -> list[tuple[list[float], ...]]:
    """What the first three tokens of each text are drawn from."""
    sequences = [prefilled(runner, prompt) for prompt in prompts]
    logits = []
    for _ in range(3):
        tokens, rows = runner.draw(sequences)
        logits.append([row.tolist() for row in rows])
        for each, token in zip(sequences, tokens, strict=True):
            each.generated.append(token)
    return [tuple(step[n] for step in logits) for n in range(len(prompts))]


def logits_of(model: Decoder, tokens: list[int]) -> Floats:
    model.prefill(model.cache.take(), 0, tokens)
    return model.logits(len(tokens))


@every_target
def test_every_processor_comes_to_the_same_logits(
    folder: Path, target: tuple[str, ...] | None
) -> None:
    expected = load(folder, dtype="float32")._decoder
    found = load(folder, dtype="float32", target=target)._decoder
    tokens = random_prompt(3, 60)
    ours, theirs = (logits_of(each, tokens) for each in (found, expected))
    assert float(abs(ours - theirs).max() / abs(theirs).max()) < 1e-5


def test_threads_that_wait_take_no_time(folder: Path) -> None:
    runner = load(folder, threads=3)
    runner._decoder.prefill(0, 0, random_prompt(1, 10))
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25


@pytest.mark.parametrize(
    "company",
    [
        lambda rows: len(rows[0]) % 2,
        lambda rows: len(rows[0]) > 90,  # as many as there can be
        lambda rows: len(set(rows[1])) < len(rows[1]),  # several of one sequence
    ],
)
def test_bits_that_depend_on_the_company_are_seen_at_load(
    folder: Path, monkeypatch: pytest.MonkeyPatch, company: Callable[[Any], int]
) -> None:
    run = Decoder.run

    def mixed(self: Decoder, *rows: Any) -> None:
        run(self, *rows)
        self._x[:, 0] += company(rows)

    monkeypatch.setattr(Decoder, "run", mixed)
    assert not load(folder).reproducible


@pytest.mark.slow
def test_neighbours_that_cut_nothing_off_make_no_step_three_times_as_long(tmp_path: Path) -> None:
    """By the processor's time, in one thread: whatever else runs here does not count."""
    folder = make_random_model(tmp_path / "distil", SHAPES["distilgpt2"])
    runner = load(folder, dtype="bfloat16")

    def seconds(neighbour: SamplingParams) -> float:
        engine = Engine(runner, kv_memory=2**34)
        reader = SamplingParams(max_tokens=99, top_k=50, top_p=0.95, repetition_penalty=1.1)
        sequences = [make_sequence([5, 6], each) for each in [neighbour] * 31 + [reader]]
        for each in sequences:
            engine.add(each)
        engine.step()
        begin = time.thread_time()
        for _ in range(5):
            engine.step()
        taken = time.thread_time() - begin
        engine.close()
        return taken

    usual = seconds(SamplingParams(max_tokens=99, top_k=50, top_p=0.95))
    for top_k, top_p in ((0, 0.95), (0, 1.0), (1000, 0.95)):
        wild = SamplingParams(max_tokens=99, temperature=2, top_k=top_k, top_p=top_p)
        assert seconds(wild) < 3 * usual, (top_k, top_p)
