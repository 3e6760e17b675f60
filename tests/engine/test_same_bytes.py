"""A seed gives the same tokens whatever runs beside it, in whatever order, cache or batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.engine import kv_cache, prefix_cache, sampler
from minivault.engine.engine import Engine
from minivault.engine.runners import rows
from minivault.engine.runners.gpt2 import Gpt2Runner
from minivault.engine.runners.gpt2_torch import TorchGpt2
from minivault.engine.runners.linear import Linear
from minivault.engine.sequence import Output, SamplingParams, Sequence, State
from tests.engine.gpt2_models import (
    STORYTELLER,
    load,
    make_sequence,
    prefilled,
    random_prompt,
    save_gpt2,
)

Said = list[tuple[str, int | None, object, object]]
SAMPLED = SamplingParams(
    max_tokens=12, temperature=0.9, top_k=40, top_p=0.95, repetition_penalty=1.1, top_logprobs=2
)


@cache
def small_model() -> Path:
    return save_gpt2(Path(mkdtemp(prefix="minivault-test-")))


@cache
def runner_for(dtype: str, kernels: str) -> Gpt2Runner:
    threads = 3 if kernels == "native" else 1
    return load(small_model(), dtype=dtype, kernels=kernels, threads=threads, prefix_memory=2**20)


@dataclasses.dataclass(frozen=True)
class Ask:
    """One request of a random company."""

    seed: int
    length: int
    tokens: int
    greedy: bool = False

    def sequence(self) -> Sequence:
        temperature = 0.0 if self.greedy else SAMPLED.temperature
        params = dataclasses.replace(
            SAMPLED, seed=self.seed, max_tokens=self.tokens, temperature=temperature
        )
        return make_sequence(random_prompt(self.seed, self.length), params)


def said_by(outputs: Iterable[Output]) -> Said:
    return [(each.text, each.token_id, each.choice, each.finish) for each in outputs]


def run(runner: Gpt2Runner, arrivals: list[list[Ask]], max_running: int = 32) -> dict[Ask, Said]:
    """What each one says; `arrivals` come step by step."""
    engine = Engine(runner, max_running=max_running, kv_memory=2**30)
    asked: dict[Sequence, Ask] = {}
    outputs: list[Output] = []
    for newcomers in arrivals:
        for ask in newcomers:
            sequence = ask.sequence()
            asked[sequence] = ask
            engine.add(sequence)
        outputs += engine.step()
    while engine.busy:
        outputs += engine.step()
    engine.close()
    assert not [each.error for each in outputs if each.error]
    return {
        ask: said_by(each for each in outputs if each.sequence is sequence)
        for sequence, ask in asked.items()
    }


@cache
def alone(dtype: str, ask: Ask, kernels: str = "auto") -> Said:
    """What it says alone, in a runner that never held anything else."""
    fresh = load(small_model(), dtype=dtype, kernels=kernels)
    return run(fresh, [[ask]])[ask]


asks = st.builds(
    Ask,
    seed=st.integers(0, 5),
    length=st.sampled_from([1, 2, 40, 64, 65, 66, 129, 140, 200]),
    tokens=st.integers(1, 12),
    greedy=st.booleans(),
)
every_kernel = pytest.mark.parametrize(
    "kernels", ["native", pytest.param("torch", marks=pytest.mark.slow)]
)
every_width = pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
companies = st.lists(st.lists(asks, max_size=12), min_size=1, max_size=5)


@every_kernel
@every_width
@settings(max_examples=12, deadline=None, derandomize=True)
@given(arrivals=companies, places=st.sampled_from([1, 3, 32]))
def test_a_text_does_not_depend_on_its_company(
    dtype: str, kernels: str, arrivals: list[list[Ask]], places: int
) -> None:
    found = run(runner_for(dtype, kernels), arrivals, places)
    for ask, said in found.items():
        assert said == alone(dtype, ask, kernels)


@pytest.mark.slow
@every_kernel
@every_width
def test_the_storyteller_says_the_same_among_thirty_two(dtype: str, kernels: str) -> None:
    runner = load(STORYTELLER, dtype=dtype, kernels=kernels, threads=2, prefix_memory=2**26)
    company = [Ask(seed, 1 + 11 * seed, 10 + seed) for seed in range(32)]
    together = run(runner, [[each] for each in company])
    turned = run(runner, [company[::-1]])
    fresh = load(STORYTELLER, dtype=dtype, kernels=kernels)
    for ask in company[::5]:
        expected = run(fresh, [[ask]])[ask]
        assert together[ask] == expected
        assert turned[ask] == expected


@every_kernel
def test_a_warm_prefix_cache_changes_nothing_and_is_used(kernels: str) -> None:
    runner = load(small_model(), dtype="float32", kernels=kernels, prefix_memory=2**24)
    ask = Ask(seed=1, length=200, tokens=12)
    cold = run(runner, [[ask]])[ask]
    assert runner.statistics()["prefix_hits"] == 0
    warm = run(runner, [[ask]])[ask]
    assert runner.statistics()["prefix_hits"] == 3
    assert warm == cold == alone("float32", ask, kernels)


def test_two_runners_with_one_and_two_slots_agree() -> None:
    ask, other = Ask(seed=2, length=70, tokens=12), Ask(seed=3, length=20, tokens=5)
    narrow = load(small_model(), dtype="float32", max_running=2)
    assert run(narrow, [[other, ask]], max_running=2)[ask] == alone("float32", ask)


@pytest.mark.parametrize("mode", [rows.FIXED, rows.ALONE], ids=lambda mode: mode.mode)
def test_the_slow_modes_keep_the_bytes_too(mode: rows.Rows) -> None:
    runner = load(small_model(), dtype="float32", rows=mode)
    company = [Ask(seed, 30 + seed, 10) for seed in range(11)]
    together = run(runner, [company])
    for ask in company[::4]:
        assert run(runner, [[ask]])[ask] == together[ask]


def wide_model(folder: Path) -> Path:
    """Wide enough that one row takes another kernel than two."""
    return save_gpt2(folder, n_embd=256, n_head=4, n_inner=3072, n_layer=2)


def test_without_padding_to_two_rows_the_promise_breaks(tmp_path: Path) -> None:
    folder = wide_model(tmp_path)
    unpadded = rows.Rows("batched", 1, 512)
    company = [Ask(seed, 30, 12) for seed in range(6)]
    runner = load(folder, dtype="float32", kernels="torch")
    if one_row_is_computed_as_two(runner):
        pytest.skip("this processor computes one row as it computes two")
    broken = load(folder, dtype="float32", rows=unpadded)
    assert any(differ(broken, ask, company) for ask in company)
    assert not any(differ(runner, ask, company) for ask in company)


@torch.inference_mode()
def one_row_is_computed_as_two(runner: Gpt2Runner) -> bool:
    assert isinstance(runner._model, TorchGpt2)
    narrow = runner._model._layers.products[3][0]
    x = torch.randn(2, 3072, generator=torch.Generator().manual_seed(0))
    return torch.equal(narrow(x)[:1], narrow(x[:1]))


def differ(runner: Gpt2Runner, ask: Ask, company: list[Ask]) -> bool:
    """Whether the log probabilities it reports alone are other ones in company."""
    return run(runner, [[ask]])[ask] != run(runner, [company])[ask]


def test_decoded_tokens_have_other_bits_so_that_only_prefilled_chunks_are_kept() -> None:
    runner = load(small_model(), dtype="float32", kernels="torch", prefix_memory=2**24)
    prompt = random_prompt(1, 129)
    prefilled = keys_and_values(runner, prompt, decoded=0)
    assert torch.equal(prefilled, keys_and_values(runner, prompt, decoded=0))
    assert not torch.equal(prefilled, keys_and_values(runner, prompt, decoded=64))


def test_without_that_rule_a_conversation_breaks_the_promise() -> None:
    """Had the cache also kept what was decoded, a later prompt would get other bits."""
    runner = load(small_model(), dtype="float32", kernels="torch", prefix_memory=2**24)
    first = make_sequence(random_prompt(1, 65), SamplingParams(max_tokens=70, temperature=0))
    engine = Engine(runner)
    engine.add(first)
    while engine.busy:
        engine.step()
        if first.state is State.RUNNING and len(first.generated) == 64:
            tokens = [*first.prompt, *first.generated][:128]
            runner._prefixes.keep(tokens, runner._model.cache.part(first.cache.index, 64, 128))
    again = [*first.prompt, *first.generated]
    fresh = load(small_model(), dtype="float32", kernels="torch")
    expected = keys_and_values(fresh, again, decoded=0)
    assert not torch.equal(keys_and_values(runner, again, decoded=0), expected)


def keys_and_values(runner: Gpt2Runner, prompt: list[int], decoded: int) -> torch.Tensor:
    """Those of the first 128 tokens, of which the last `decoded` went one by one."""
    sequence = prefilled(runner, prompt[: len(prompt) - decoded])
    for token in prompt[len(prompt) - decoded :]:
        runner.decode([sequence])
        sequence.generated.append(token)
    kept = runner._model.cache.part(sequence.cache.index, 0, 128).clone()
    runner.release(sequence)
    return kept


def test_the_check_at_load_sees_a_product_that_depends_on_its_batch() -> None:
    cache = kv_cache.KvCache(kv_cache.CacheShape.for_context(1, 34, 3, 64, 16), torch.device("cpu"))

    def good(x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        return x * 2

    def mixing(x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        return x + x.mean()

    def sized(x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        return x * len(x)

    def placed(x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        return x + torch.arange(len(x))[:, None]

    float32 = torch.float32
    assert rows.chosen_rows([(good, 48)], float32, cache) == (rows.BATCHED, True)
    assert rows.chosen_rows([(sized, 48)], float32, cache) == (rows.FIXED, True)
    assert rows.chosen_rows([(good, 48), (placed, 48)], float32, cache) == (rows.ALONE, True)
    assert rows.chosen_rows([(drifting(), 48)], float32, cache) == (rows.ALONE, False)
    assert rows.chosen_rows([(mixing, 48)], float32, cache) == (rows.ALONE, True)


def test_an_engine_that_cannot_keep_the_promise_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = save_gpt2(tmp_path)
    assert load(folder).reproducible
    monkeypatch.setattr(sampler, "keeps_bits", lambda: False)
    assert not load(folder).reproducible
    assert not load(folder, kernels="native").reproducible


def drifting() -> Linear:
    """A product that never says the same twice."""
    calls = [0]

    def product(x: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
        calls[0] += 1
        return x + calls[0]

    return product


def test_only_whole_chunks_are_kept() -> None:
    runner = load(small_model(), dtype="float32", prefix_memory=2**24)
    for length in (63, 64):
        run(runner, [[Ask(seed=4, length=length, tokens=3)]])
    assert runner.statistics()["prefix_bytes"] == 0
    run(runner, [[Ask(seed=4, length=65, tokens=3)]])
    assert runner.statistics()["prefix_bytes"] == prefix_cache.CHUNK * runner.kv_bytes_per_token
