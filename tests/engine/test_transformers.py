"""The runner of any model: what transformers' own generate says, token for token, bit for bit."""

from __future__ import annotations

import importlib
import json
import socket
from collections.abc import Iterator, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from minivault.engine.loading import load_runner
from minivault.engine.runner import Runner
from minivault.engine.sequence import SamplingParams, Sequence
from minivault.engine.tokenizer import load_tokenizer
from minivault.engine.transformers.pipeline import text_generation
from minivault.engine.transformers.runner import PART, TransformersRunner
from minivault.errors import ModelUnusable
from tests.engine.small_models import STORYTELLER, save_model

pytestmark = pytest.mark.slow

FAMILIES = ["gpt2", "gpt_neox", "llama", "mamba", "rwkv"]
CACHES = ("cache", "past_key_values")
PROMPTS = ["the cat", "a", "日本語 é e\u0301 👩‍👩‍👧", "the cat  sat. " * 6]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Such small models are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("models")
    return {family: save_model(family, place / family) for family in FAMILIES}


def sequence(prompt: list[int]) -> Sequence:
    text = load_tokenizer(STORYTELLER).text(prompt)
    return Sequence(prompt, SamplingParams(max_tokens=40), text)


def prefilled(runner: Runner, prompt: list[int]) -> Sequence:
    new = sequence(prompt)
    while not runner.prefill(new):
        pass
    return new


def step(runner: TransformersRunner, *sequences: Sequence) -> torch.Tensor:
    """One greedy token for each; returns their logits."""
    logits = runner.decode(list(sequences))
    for each, row in zip(sequences, logits, strict=True):
        each.generated.append(int(row.argmax()))
    return logits


@cache
def reference(folder: Path) -> Any:
    transformers: Any = importlib.import_module("transformers")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def generated(folder: Path, prompt: list[int], count: int) -> list[int]:
    """What transformers says, greedily."""
    row = torch.tensor([prompt])
    said = reference(folder).generate(
        row,
        attention_mask=torch.ones_like(row),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=None,
        pad_token_id=0,
    )
    tokens: list[int] = said[0, len(prompt) :].tolist()
    return tokens


@pytest.mark.parametrize("family", ["storyteller", *FAMILIES])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_what_generate_says(
    folders: dict[str, Path], family: str, prompt: str
) -> None:
    folder = folders.get(family, STORYTELLER)
    tokens = load_tokenizer(folder).encode(prompt)
    runner = TransformersRunner(folder, dtype="float32")
    said = prefilled(runner, tokens)
    for _ in range(20):
        step(runner, said)
    assert said.generated == generated(folder, tokens, 20)


def test_a_long_prompt_is_prefilled_in_parts_and_says_the_same(folders: dict[str, Path]) -> None:
    tokens = [3 + place * 7 % 200 for place in range(2 * PART - 100)]
    runner = TransformersRunner(folders["llama"], dtype="float32")
    long = sequence(tokens)
    assert [runner.prefill(long), runner.prefill(long)] == [True, True]
    for _ in range(10):
        step(runner, long)
    assert long.generated == generated(folders["llama"], tokens, 10)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_gets_the_same_bits_alone_and_among_others(
    folders: dict[str, Path], family: str, dtype: str
) -> None:
    runner = TransformersRunner(folders[family], dtype=dtype)
    assert runner.reproducible
    alone = prefilled(runner, [5, 6, 7, 8])
    expected = [step(runner, alone)[0] for _ in range(8)]
    again, beside = prefilled(runner, [5, 6, 7, 8]), prefilled(runner, [9, 10])
    for turn, row in enumerate(expected):
        company = [beside, again] if turn % 2 else [again, beside]
        assert torch.equal(step(runner, *company)[turn % 2], row)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_token_is_charged_what_the_cache_holds_of_it(
    folders: dict[str, Path], family: str
) -> None:
    runner = TransformersRunner(folders[family], dtype="float32")
    held = prefilled(runner, list(range(3, 103)))
    step(runner, held)
    assert held.cache.nbytes == 100 * runner.kv_bytes_per_token
    runner.release(held)
    assert held.cache is None


def test_the_limits_are_the_models(folders: dict[str, Path]) -> None:
    runner = TransformersRunner(folders["llama"])
    assert (runner.context_length, runner.vocabulary) == (1024, 303)
    mamba = TransformersRunner(folders["mamba"])
    assert mamba.context_length == 2048
    assert "the model names no longest text, so 2048 tokens are taken: --c" in str(mamba.notice)
    assert mamba.reserved_tokens(10) * mamba.kv_bytes_per_token > 10_000, "its states are counted"
    longer = TransformersRunner(folders["mamba"], context=5000)
    assert (longer.context_length, longer.notice) == (5000, None)


def test_a_cache_that_cannot_be_measured_is_told(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivault.engine.transformers.driven._nbytes", lambda kept: 0)
    runner = TransformersRunner(folders["gpt2"])
    assert "so --kv-memory does not bound it" in str(runner.notice)


def test_the_pipeline_is_built_once(folders: dict[str, Path]) -> None:
    pipelines = [
        text_generation(folders["gpt2"], torch.float32, torch.device("cpu")) for _ in range(2)
    ]
    assert pipelines[0] is pipelines[1]
    assert type(pipelines[0]).__name__ == "TextGenerationPipeline"


def test_loading_opens_no_connection(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    text_generation.cache_clear()
    assert TransformersRunner(folders["gpt_neox"]).vocabulary == 8192


def test_each_position_is_computed_once(folders: dict[str, Path]) -> None:
    """Whatever transformers calls its cache, it is used: nothing is computed anew."""
    runner, computed = TransformersRunner(folders["llama"], dtype="float32"), 0

    def count(_: object, __: object, inputs: Mapping[str, torch.Tensor]) -> None:
        nonlocal computed
        computed += inputs["input_ids"].shape[1]

    model = text_generation(folders["llama"], torch.float32, torch.device("cpu")).model
    hook = model.register_forward_pre_hook(count, with_kwargs=True)
    said = prefilled(runner, [3 + place * 7 % 200 for place in range(PART + 30)])
    for _ in range(10):
        step(runner, said)
    hook.remove()
    assert computed == PART + 30 + 9
    assert runner.description["cache"] == "kept"


def test_a_model_whose_cache_gives_something_else_is_computed_anew_and_says_so(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = text_generation(folders["gpt2"], torch.float32, torch.device("cpu")).model
    forward = model.forward

    @wraps(forward)
    def forgetful(**options: Any) -> Any:
        return forward(**{name: each for name, each in options.items() if name not in CACHES})

    monkeypatch.setattr(model, "forward", forgetful)
    said = prefilled(runner := TransformersRunner(folders["gpt2"], dtype="float32"), [5, 6, 7])
    for _ in range(10):
        step(runner, said)
    assert said.generated == generated(folders["gpt2"], [5, 6, 7], 10)
    assert runner.description["cache"].startswith("none: the cache of this GPT2LMHeadModel gives")
    assert "every token costs the whole text anew, which is slow" in str(runner.notice)


def test_a_model_that_keeps_nothing_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_model("openai-gpt", tmp_path / "openai")
    runner = load_runner(folder, dtype="float32")
    assert isinstance(runner, TransformersRunner)
    said = prefilled(runner, [5, 6, 7])
    for _ in range(10):
        step(runner, said)
    assert said.generated == generated(folder, [5, 6, 7], 10)
    assert "OpenAIGPTLMHeadModel keeps no cache" in runner.description["cache"]
    assert "which is slow" in caplog.text


@pytest.mark.parametrize("renamed", ["forward", "prepare_inputs_for_generation"])
def test_an_interface_that_has_changed_is_a_refusal(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, renamed: str
) -> None:
    model = text_generation(folders["llama"], torch.float32, torch.device("cpu")).model

    def changed(self: object, tokens: object, memory: object = None) -> NoReturn:
        raise AssertionError("cannot be called so")

    monkeypatch.setattr(model, renamed, changed)
    with pytest.raises(ModelUnusable, match="cannot write text with this LlamaForCausalLM"):
        TransformersRunner(folders["llama"], dtype="float32")


def test_int8_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelUnusable, match="int8"):
        TransformersRunner(folders["llama"], dtype="int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(ModelUnusable, match="cuda"):
        TransformersRunner(folders["llama"], device="cuda")


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    folder = save_model("gpt2", tmp_path / "pickled")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelUnusable, match="safetensors"):
        TransformersRunner(folder)


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    folder = save_model("gpt2", tmp_path / "remote")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "own.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    with pytest.raises(ModelUnusable):
        TransformersRunner(folder)


@pytest.mark.parametrize(
    "name",
    [
        "BertForMaskedLM",
        "BertForSequenceClassification",
        "T5ForConditionalGeneration",
        "LlamaForSequenceClassification",
        "ViTForImageClassification",
    ],
)
def test_what_does_not_continue_texts_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    transformers: Any = importlib.import_module("transformers")
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "d_model": 64}
    config = transformers.AutoConfig.for_model(
        name.split("For")[0].lower(), **sizes, vocab_size=90, num_layers=1
    )
    getattr(transformers, name)(config).save_pretrained(tmp_path)
    with pytest.raises(ModelUnusable) as caught:
        TransformersRunner(tmp_path)
    told = str(caught.value).replace(str(tmp_path), "")
    assert name in told
    assert "wanted is a model that continues text" in told
    assert len(told) < 300
    assert "\n" not in told


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_weights_that_are_no_numbers_are_said_at_the_start(
    tmp_path: Path, family: str, value: float
) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model(family, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = next(iter(tensors))
    tensors[name].view(-1)[7] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    for runner in ("native", "transformers"):
        with pytest.raises(ModelUnusable, match="weights hold NaN or infinite numbers.*: "):
            load_runner(folder, runner=runner)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model("llama", tmp_path / "gap")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnusable, match=r"model\.norm\.weight"):
        TransformersRunner(folder)
