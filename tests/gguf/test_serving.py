"""A GGUF file is found, checked, named, served and logged like any other model."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from minivault.backends.local import LocalBackend
from minivault.cli import main
from minivault.engine.sequence import SamplingParams
from minivault.engine.tokenizer import load_tokenizer
from minivault.engine.transformers.gguf import gguf_model
from minivault.errors import ModelNotFound, ModelUnusable
from minivault.model_store import ModelStore
from minivault.model_store.packages import PACKAGES
from minivault.model_store.recommended import left_out, recommended
from minivault.schemas import Parameters
from minivault.settings import Settings
from tests.backends.local_models import GREEDY, local, request, say
from tests.engine.gpt2_models import load, make_sequence
from tests.gguf import models
from tests.gguf.files import gguf_bytes, random_tensor, reference
from tests.gguf.smollm2 import smollm2
from tests.gguf.vocabularies import TEMPLATE, byte_level
from tests.live import live_server, wait_for

SMALL = gguf_bytes({"general.license": "mit"}, {"it": random_tensor("Q8_0", (2, 64))})
SHA256 = hashlib.sha256(SMALL).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models", offline=True)


def put(path: Path, data: bytes = SMALL) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_file_is_a_model_by_its_path(store: ModelStore, tmp_path: Path) -> None:
    file = put(tmp_path / "Some Model.Q8_0.gguf")
    model = store.get(str(file))
    assert (model.name, model.path, model.source) == ("Some-Model.Q8_0", file, "folder")
    assert {model.sha256, model.tokenizer_sha256, model.config_sha256} == {SHA256}
    assert (model.size, model.license) == (len(SMALL), "mit")
    assert store.check(str(file)) == []
    assert store.choose(str(file)).model == model


def test_what_it_recommends_counts_where_nothing_beside_it_says_otherwise(tmp_path: Path) -> None:
    keys = {"temp": 0.6, "top_k": 20, "min_p": 0.05, "penalty_repeat": 9.0, "mirostat": 1}
    sampling = {f"general.sampling.{name}": value for name, value in keys.items()}
    file = put(tmp_path / "tiny.gguf", gguf_bytes(sampling, {"it": random_tensor("F32", (1,))}))
    unpenalized = {"repetition_penalty": 1.0}
    assert recommended(file, SHA256) == {
        "temperature": 0.6,
        "top_k": 20,
        "min_p": 0.05,
        **unpenalized,
    }
    assert list(left_out(file)) == [
        "its makers recommend repetition_penalty 9.0, which is left out: "
        "it should be less than or equal to 2"
    ]
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.7, "top_p": "high"}')
    assert recommended(file, SHA256) == {
        "temperature": 0.7,
        "top_k": 20,
        "min_p": 0.05,
        **unpenalized,
    }
    assert recommended(tmp_path, SHA256) == {"temperature": 0.7, **unpenalized}
    [sentence] = left_out(tmp_path)
    assert "top_p 'high', which is left out: it should be a valid number" in sentence
    assert recommended(put(tmp_path / "other.gguf"), SHA256) == {"temperature": 0.7, **unpenalized}
    (tmp_path / "generation_config.json").write_text('{"repetition_penalty": 1.05}')
    assert recommended(tmp_path, SHA256) == {"repetition_penalty": 1.05}


def test_where_a_packaged_models_files_say_nothing_the_package_does(tmp_path: Path) -> None:
    package = PACKAGES["smollm2"]
    [sha256] = [each.sha256 for name, each in package.files.items() if name.endswith(".gguf")]
    copy = put(tmp_path / "a copy.gguf")
    copied = recommended(copy, sha256)
    assert copied == package.recommended
    assert recommended(copy, SHA256) == {}
    assert Parameters.model_validate(package.recommended).model_fields_set == set(copied)
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.7}')
    assert recommended(copy, sha256) == {"temperature": 0.7, "repetition_penalty": 1.0}


@pytest.mark.parametrize("name", ["tiny", "org/tiny"])
def test_a_folder_with_one_is_a_model_by_its_name(store: ModelStore, name: str) -> None:
    file = put(store.folder / name / "weights.Q4.GGUF")
    model = store.get(name)
    assert (model.name, model.folder, model.path) == (name, file.parent, file)
    assert store.names() == sorted([name, "storyteller"])
    assert [each.name for each in store.models()] == store.names()
    assert store.get(str(file)).name == store.get(str(file.parent)).name == name


def test_of_several_one_must_be_named(store: ModelStore) -> None:
    one, other = (put(store.folder / "tiny" / f"{n}.gguf") for n in "ab")
    with pytest.raises(ModelUnusable, match=r"2 GGUF files \(a\.gguf, b\.gguf\): name one of them"):
        store.get("tiny")
    assert [store.get(str(each)).name for each in (one, other)] == ["a", "b"]


def test_safetensors_beside_it_are_taken(store: ModelStore) -> None:
    put(store.folder / "tiny" / "a.gguf")
    put(store.folder / "tiny" / "model.safetensors", b"not whole")
    with pytest.raises(ModelUnusable, match=r"no config\.json"):
        store.get("tiny")


def test_a_damaged_file_is_not_whole_and_says_why(store: ModelStore) -> None:
    file = put(store.folder / "tiny" / "a.gguf", SMALL[:-40])
    assert store.find("tiny") is None
    for name in ("tiny", str(file)):
        assert "a.gguf is cut short" in store.check(name)[0]
        with pytest.raises(ModelUnusable, match=r"no whole model: a\.gguf is cut short"):
            store.get(name)
    put(file)
    assert store.check("tiny") == []


def test_a_file_that_is_not_there_is_no_name_of_the_hub(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    with pytest.raises(ModelNotFound, match=r"no model 'org/missing\.gguf'"):
        store.choose("org/missing.gguf")


def test_it_stands_in_the_list(
    store: ModelStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store.folder / "tiny" / "a.gguf")
    assert main(["models", "--models-dir", str(store.folder), "--json", "--verify"]) == 0
    row = next(
        each for each in json.loads(capsys.readouterr().out)["models"] if each["name"] == "tiny"
    )
    assert row["whole"] is True
    assert (row["sha256"], row["license"]) == (SHA256, "mit")


@pytest.mark.slow
def test_it_is_served_by_the_native_runner(tmp_path: Path) -> None:
    keys = byte_level() | {"tokenizer.chat_template": TEMPLATE}
    vocabulary = len(keys["tokenizer.ggml.tokens"])
    source = models.make("tied, biased", vocab_size=vocabulary)
    path = models.save_gguf("tied, biased", tmp_path / "tiny.gguf", source, reference(), keys)

    async def run() -> None:
        async with local(path) as backend:
            info = backend.info
            assert (info.name, info.context_length, info.chat) == ("tiny.gguf", 128, True)
            assert info.reproducible
            assert (info.engine["runner"], info.engine["architecture"]) == ("native", "llama")
            assert info.notice is None
            said = await say(backend, request("he cat", **GREEDY))
            assert said.text == expected(source, backend)

    asyncio.run(run())


@pytest.mark.slow
def test_it_is_replayed_at_its_own_widths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = byte_level() | {"tokenizer.chat_template": TEMPLATE}
    source = models.make("tied, biased", vocab_size=len(keys["tokenizer.ggml.tokens"]))
    (tmp_path / "tiny").mkdir()
    models.save_gguf("tied, biased", tmp_path / "tiny" / "a.gguf", source, reference(), keys)
    folders = ["--models-dir", str(tmp_path), "--logs-dir", str(tmp_path / "logs")]
    asked = ["generate", "he cat", "--model", "tiny", "--max-tokens", "5", *folders]
    assert main(asked) == 0
    assert main(["logs", "replay", "1", *folders]) == 0
    assert "record 1 is the same" in capsys.readouterr().out


@pytest.mark.slow
def test_greedy_text_of_a_real_model_is_that_of_transformers() -> None:
    tokens = load_tokenizer(smollm2()).encode("Once upon a time, in a village by the sea,")
    prompt = len(tokens)
    sequence = make_sequence(tokens, SamplingParams(max_tokens=60, temperature=0))
    runner = load(smollm2(), dtype="float32", threads=2)
    while not runner.prefill(sequence):
        pass
    for _ in range(60):
        sequence.generated += runner.draw([sequence])[0]
    tokens += sequence.generated
    with torch.inference_mode():
        logits = gguf_model(smollm2(), torch.float32)(torch.tensor([tokens])).logits[0]
        first = make_sequence(tokens[:1])
        assert runner.prefill(first)
        found = runner.decode([first])[0]
    assert sequence.generated == logits.argmax(-1)[prompt - 1 : -1].tolist()
    expected = logits[0].numpy()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def expected(source: object, backend: LocalBackend) -> str:
    """What transformers' own `generate` goes on with."""
    tokenizer = backend._tokenizer
    prompt = tokenizer.encode("he cat")
    made = source.generate(  # type: ignore[attr-defined]
        torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=0,
        eos_token_id=sorted(tokenizer.end_ids),
    )  # fmt: skip
    return tokenizer.decode(made[0, len(prompt) :].tolist())


@pytest.mark.slow
def test_a_real_chat_model_knows_the_capital_of_france(tmp_path: Path) -> None:
    """As `make chat` serves it."""
    settings = Settings(model=str(smollm2()), dtype="bfloat16", threads=2)
    model = ModelStore(tmp_path).get(str(smollm2()))
    asked = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
    }
    with live_server(tmp_path, LocalBackend(settings, model), ready=False) as live:
        wait_for(lambda: live.service.stage.status != "loading", seconds=180)
        answer = httpx.post(
            f"{live.url}/generate", json=asked, headers={"Accept": "application/json"}, timeout=60
        ).json()
    assert answer["text"] == "The capital of France is Paris."
    assert answer["finish_reason"] == "stop"
    (record,) = live.records()
    assert record["model"]["sha256"] == model.sha256
    assert record["engine"]["tokenizer_sha256"] == model.sha256


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process held at most")
def test_what_is_packed_is_not_kept_a_second_time(tmp_path: Path) -> None:
    path = smollm2()
    # The first steps, which try the kernels, take a large page for each sequence that may run.
    load = (
        "import os, sys; from pathlib import Path; from minivault.bench import memory\n"
        "from minivault.engine.native.runner import NativeRunner\n"
        "runner = NativeRunner(Path(sys.argv[1]), dtype='file', threads=2, max_running=1)\n"
        "print(memory.peak_memory(os.getpid()) - memory.resident_memory(os.getpid()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", load, path], cwd=tmp_path, capture_output=True, check=True
    )
    assert int(done.stdout) < path.stat().st_size / 2, "neither the file nor its embeddings twice"
