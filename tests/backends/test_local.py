"""The local backend: the engine's steps become pieces, one for every token."""

from __future__ import annotations

import asyncio
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from minivault.backends.base import Finish, Piece
from minivault.backends.local import LocalBackend
from minivault.engine.sequence import Output, Sequence
from minivault.engine.tokenizer import load_tokenizer
from minivault.errors import InvalidRequest, Unavailable
from minivault.schemas import FinishReason
from tests.backends.local_models import GREEDY, Said, local, request, say
from tests.engine.small_models import STORYTELLER, save_model
from tests.live import wait_for

# Each ends in a letter that every vocabulary has, so that the prompt's own text is complete.
HARD_PROMPTS = ["the cat", "日本語 é cat", "e\u0301 👩‍👩‍👧 สวัสดี a", "\x00\u2028\ufffd\r\n cat"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    made = {family: save_model(family, place / family) for family in ("gpt2", "gpt_neox", "llama")}
    return {"storyteller": STORYTELLER, **made}


@cache
def reference(folder: Path) -> Any:
    transformers: Any = importlib.import_module("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


def generated(folder: Path, prompt: str, **options: Any) -> tuple[str, int]:
    """The text and the number of tokens that transformers' generate makes, greedily.

    Of ids that no token has it draws none either.
    """
    import torch

    tokenizer = load_tokenizer(folder)
    tokens = tokenizer.encode(prompt)
    torch.set_num_threads(1)  # so small a model is slower with more
    row = torch.tensor([tokens])
    model = reference(folder)
    options = {"do_sample": False, "pad_token_id": 0} | options
    if nobodys := list(range(tokenizer.size, model.config.vocab_size)):
        options["suppress_tokens"] = nobodys
    said = model.generate(row, attention_mask=torch.ones_like(row), **options)[0].tolist()
    new = [each for each in said[len(tokens) :] if each not in tokenizer.end_ids]
    whole = tokenizer.decode([*tokens, *new])
    return whole.removeprefix(tokenizer.decode(tokens)), len(new)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", [1.0, 1.1])
@pytest.mark.parametrize("family", ["storyteller", "gpt2", "gpt_neox", "llama"])
def test_greedy_text_is_what_transformers_says(
    models: dict[str, Path], family: str, penalty: float
) -> None:
    async def run() -> list[Said]:
        async with local(models[family]) as backend:
            asked = [
                request(prompt, max_tokens=30, temperature=0.0, repetition_penalty=penalty)
                for prompt in HARD_PROMPTS
            ]
            return await asyncio.gather(*(say(backend, each) for each in asked))

    for prompt, said in zip(HARD_PROMPTS, asyncio.run(run()), strict=True):
        text, tokens = generated(
            models[family], prompt, max_new_tokens=30, repetition_penalty=penalty
        )
        assert (said.text, said.tokens) == (text, tokens)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_text_cut_at_any_token_is_flushed_as_decoding_at_once_would(
    models: dict[str, Path], family: str
) -> None:
    async def run() -> None:
        async with local(models[family]) as backend:
            whole = await say(backend, request("the cat", **GREEDY))
            cut = [request("the cat", **GREEDY | {"max_tokens": end}) for end in range(1, 24)]
            for end, said in enumerate(
                await asyncio.gather(*(say(backend, each) for each in cut)), start=1
            ):
                shown = "".join(piece.text for piece in whole.pieces[:end])
                assert said.text == shown + whole.pieces[end - 1].tail

    asyncio.run(run())


@pytest.mark.slow
def test_there_is_one_piece_for_every_token(models: dict[str, Path]) -> None:
    async def run() -> Said:
        async with local(models["llama"]) as backend:
            return await say(backend, request("the cat", max_tokens=50, top_logprobs=3))

    said = asyncio.run(run())
    assert [piece.tokens for piece in said.pieces] == [1] * 50
    assert said.finish == Finish(FinishReason.LENGTH, 50)
    assert any(not piece.text for piece in said.pieces)
    assert {len(each.top) for piece in said.pieces for each in piece.logprobs} == {3}


def test_the_text_ends_at_an_end_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = shutil.copytree(STORYTELLER, tmp_path / "short")
    full_stop = load_tokenizer(STORYTELLER).encode("the end.")[-1]
    config = {"eos_token_id": [0, full_stop], "top_p": 7}
    (folder / "generation_config.json").write_text(json.dumps(config), encoding="utf-8")

    async def run(folder: Path) -> Said:
        async with local(folder) as backend:
            return await say(backend, request("The little rabbit", **GREEDY | {"max_tokens": 60}))

    short, long = asyncio.run(run(folder)), asyncio.run(run(STORYTELLER))
    assert short.finish == Finish(FinishReason.STOP, short.tokens)
    assert long.text.startswith(short.text + ".")
    assert "short: its makers recommend top_p 7, which is left out" in caplog.text


def test_a_stop_string_is_neither_said_nor_followed() -> None:
    async def run() -> None:
        async with local(STORYTELLER) as backend:
            whole = await say(backend, request("The little rabbit", **GREEDY))
            stops = [whole.text[begin : begin + 4] for begin in range(0, len(whole.text) - 4, 3)]
            asked = [request("The little rabbit", stop=(stop,), **GREEDY) for stop in stops]
            said = await asyncio.gather(*(say(backend, each) for each in asked))
            for stop, each in zip(stops, said, strict=True):
                assert each.text == whole.text[: whole.text.index(stop)]
                assert each.finish == Finish(FinishReason.STOP, each.tokens)

    asyncio.run(run())


@pytest.mark.slow
def test_the_same_seed_says_the_same_alone_and_among_others(models: dict[str, Path]) -> None:
    async def run(folder: Path) -> None:
        async with local(folder) as backend:
            assert backend.info.reproducible
            asked = request("the cat", seed=5, temperature=1.2)
            alone = await say(backend, asked)
            others = [request(f"the cat {seed}", seed=seed, max_tokens=40) for seed in range(6)]
            together = await asyncio.gather(*(say(backend, each) for each in [*others, asked]))
            assert together[-1] == alone
            other = await say(backend, request("the cat", seed=6, temperature=1.2))
            assert other.text != alone.text

    for family in ("storyteller", "llama"):
        asyncio.run(run(models[family]))


@pytest.mark.slow
def test_requests_take_turns_token_by_token(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Sequence] = []  # as the engine says them: who reads them may be late
    deliver = LocalBackend._deliver

    def counted(backend: LocalBackend, outputs: list[Output]) -> None:
        if not order:  # nobody runs ahead while the others are on their way
            wait_for(
                lambda: sum(map(backend.statistics().__getitem__, ("running", "waiting"))) == 4
            )
        order.extend(each.sequence for each in outputs if each.token_id is not None)
        deliver(backend, outputs)

    async def run() -> None:
        async with local(models["gpt_neox"]) as backend:
            asked = [request(f"the cat {name}", max_tokens=30, **GREEDY) for name in "abcd"]
            await asyncio.gather(*(say(backend, each) for each in asked))

    monkeypatch.setattr(LocalBackend, "_deliver", counted)
    asyncio.run(run())
    counts = dict.fromkeys(order, 0)
    assert len(counts) == 4
    for sequence in order:
        counts[sequence] += 1
        assert max(counts.values()) - min(counts.values()) <= 2


def test_closing_costs_at_most_the_steps_under_way() -> None:
    async def run() -> tuple[float, int]:
        async with local(STORYTELLER) as backend:
            items = backend.generate(request("Once", max_tokens=400))
            read = 0
            async for item in items:
                read += isinstance(item, Piece)
                if read == 3:
                    break
            await items.aclose()
            before = backend.statistics()["tokens"]
            await idle(backend)
            return backend.statistics()["tokens"] - before, read

    drawn, read = asyncio.run(run())
    assert read == 3
    assert drawn <= 1


@pytest.mark.slow
def test_an_error_of_the_model_is_raised_to_its_request(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from minivault.engine.transformers.runner import TransformersRunner

    async def run() -> None:
        async with local(models["gpt_neox"]) as backend:
            with monkeypatch.context() as broken:
                broken.setattr(TransformersRunner, "_next", _raise(RuntimeError("out of memory")))
                with pytest.raises(RuntimeError, match="out of memory"):
                    await say(backend, request("the cat"))
            assert (await say(backend, request("the cat"))).tokens == 24

    asyncio.run(run())


def test_a_prompt_whose_tokens_come_with_it_is_not_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        async with local(STORYTELLER) as backend:
            asked = request("the cat")
            said = await say(backend, asked)
            asked = replace(asked, tokens=tuple(backend.tokenize("the cat")))
            monkeypatch.setattr(backend, "tokenize", None)
            assert await say(backend, asked) == said

    asyncio.run(run())


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers() -> None:
    async def run() -> None:
        async with local(STORYTELLER) as backend:
            words = " cat" * 511
            assert len(backend.tokenize(words)) == 511
            said = await say(backend, request(words))
            assert said.finish == Finish(FinishReason.LENGTH, said.tokens)
            assert said.tokens == 1
            with pytest.raises(InvalidRequest, match=r"512 tokens.* 511 fit"):
                await say(backend, request(words + " cat"))
            with pytest.raises(InvalidRequest, match="surrogate"):
                await say(backend, request("\ud800"))

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_a_token_that_the_model_does_not_know_ends_nobody_elses_text(
    family: str, models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """8192 embedding rows, and a tokenizer with one added token: 8192."""
    folder = shutil.copytree(models[family], tmp_path / family)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    asked = request("the cat", **GREEDY | {"max_tokens": 40})

    async def run() -> None:
        async with local(folder) as backend:
            alone = await say(backend, asked)
            together = asyncio.create_task(say(backend, asked))
            for _ in range(5):
                with pytest.raises(InvalidRequest, match=r"8192 .*<extra>.* 8192 .* 8193"):
                    await say(backend, request("a <extra>"))
            with pytest.raises(InvalidRequest, match="prompt: holds the token 8192"):
                backend.tokenize("a <extra>")
            assert await together == alone

    asyncio.run(run())
    assert "has 8193 tokens, the model knows 8192" in caplog.text


@pytest.mark.slow
def test_a_request_that_memory_could_never_hold_is_refused_and_the_start_says_so(
    models: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with local(models["gpt_neox"], kv_memory=100 * 1024) as backend:
            told = str(backend.info.notice)
            assert told.endswith("longer texts are refused; --kv-memory 1MiB holds one")
            assert all(sentence in caplog.text for sentence in told.split("; "))
            assert (await say(backend, request("the cat", max_tokens=90))).tokens == 90
            with pytest.raises(InvalidRequest, match="max_tokens: 202 tokens do not fit"):
                await say(backend, request("the cat", max_tokens=200))

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_a_prefilled_beginning_is_reused_within_one_caller_unless_told_otherwise(
    shared: bool,
) -> None:
    """Else the time of a prefill, or the metric, would tell how another's prompt began."""
    prompt = "Once upon a time there was a little rabbit. " * 10

    async def hits() -> list[float]:
        async with local(STORYTELLER, prefix_memory=2**24, share_prefixes=shared) as backend:
            found = []
            for caller in ("anna", "bert", "anna"):
                asked = replace(request(prompt, max_tokens=1), caller=caller)
                await say(backend, asked)
                found.append(backend.statistics()["prefix_hits"])
            return found

    first, other, again = asyncio.run(hits())
    assert first == 0
    assert (other > 0) is shared
    assert again > other


def test_log_probabilities_come_with_their_token() -> None:
    async def run() -> Said:
        async with local(STORYTELLER) as backend:
            return await say(backend, request("the cat", top_logprobs=3, **GREEDY))

    said = asyncio.run(run())
    for piece in said.pieces:
        (logprobs,) = piece.logprobs
        assert logprobs.token == logprobs.top[0]
        assert len(logprobs.top) == 3
        assert logprobs.token.logprob <= 0


def test_one_step_is_one_call_into_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[list[Any], float]:
        calls: list[Any] = []
        loop = asyncio.get_running_loop()
        into_loop = loop.call_soon_threadsafe

        def counted(callback: Callable[..., object], *args: Any, **options: Any) -> Any:
            if getattr(callback, "__module__", "") == "minivault.backends.outputs":
                calls.append(args[0])
            return into_loop(callback, *args, **options)

        async with local(STORYTELLER) as backend:
            monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
            asked = [request(f"Once {seed}", seed=seed) for seed in range(8)]
            await asyncio.gather(*(say(backend, each) for each in asked))
            return calls, backend.statistics()["steps"]

    calls, steps = asyncio.run(run())
    assert len(calls) <= steps
    assert max(len(outputs) for outputs in calls) > 4


def test_a_closed_loop_is_no_error_and_everything_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run() -> Any:
        async with local(STORYTELLER) as backend:
            with monkeypatch.context() as patched:
                loop = asyncio.get_running_loop()
                patched.setattr(loop, "call_soon_threadsafe", _raise(RuntimeError("other")))
                with pytest.raises(RuntimeError, match="other"):
                    backend._deliver([])
            return backend

    asyncio.run(run())._deliver([])


def test_closing_the_backend_fails_what_is_open() -> None:
    async def run() -> None:
        async with local(STORYTELLER) as backend:
            items = backend.generate(request("Once", max_tokens=400))
            await anext(items)
            await backend.close()
            async with asyncio.timeout(60):
                with pytest.raises(Unavailable):
                    await drained(items)

    asyncio.run(run())


@pytest.mark.slow
def test_a_template_that_fails_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(STORYTELLER, tmp_path / "failing")
    (folder / "chat_template.jinja").write_text("{{ 1 // 0 }}", encoding="utf-8")

    async def run() -> None:
        async with local(folder) as backend:
            assert not backend.info.chat
            assert "`messages`: its chat template fails: Zero" in str(backend.info.notice)

    asyncio.run(run())
    assert "ZeroDivisionError" in caplog.text


def test_it_says_what_its_text_depends_on() -> None:
    async def run() -> None:
        async with local(STORYTELLER, threads=2) as backend:
            info = backend.info
            assert (info.name, info.context_length, info.chat) == ("storyteller", 512, False)
            assert (info.applies_limits, backend.problem()) == (True, None)
            assert len(info.sha256 or "") == len(info.tokenizer_sha256 or "") == 64
            named = {
                "runner",
                "architecture",
                "dtype",
                "device",
                "arithmetic",
                "mode",
                "tokenizers",
            }
            assert named <= set(info.engine)
            assert not {"threads", "cpu", "torch", "build"} & set(
                info.engine
            )  # of no processor, and of no number of threads
            assert info.engine["dtype"] == "float32"

    asyncio.run(run())


@pytest.mark.slow
def test_the_native_runner_imports_neither_torch_nor_transformers() -> None:
    """Whose import takes longer than all else of a start."""
    program = (
        "import asyncio, sys\nfrom pathlib import Path\n"
        "from tests.backends.local_models import local, request, say\n"
        "async def run():\n"
        "    async with local(Path('models/storyteller')) as backend:\n"
        "        await say(backend, request('Once'))\n"
        "asyncio.run(run())\nassert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    root = STORYTELLER.parents[1]
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120, cwd=root)


def _raise(error: Exception) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


async def drained(items: AsyncGenerator[Any, None]) -> None:
    async for _ in items:
        pass


async def idle(backend: Any) -> None:
    async with asyncio.timeout(60):
        while backend.statistics()["running"]:
            await asyncio.sleep(0.001)
