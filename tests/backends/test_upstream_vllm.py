"""vLLM as an upstream, with SmolLM2 and the storyteller. `make test-upstreams`."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.upstream import UpstreamBackend
from minivault.client import Client
from minivault.errors import PromptTooLong
from minivault.gguf.reader import GgufFile
from minivault.gguf.tokenizer import tokenizer_of
from tests.backends.other_servers import MODELS, OtherServer, running
from tests.live import LiveServer, live_server, wait_for

pytestmark = pytest.mark.upstreams

MODULE = "vllm.entrypoints.openai.api_server"
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"}
OPTIONS = ("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8")
ASKED: dict[str, Any] = {"seed": 11, "max_tokens": 24, "temperature": 0.7}
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]


def started(stack: ExitStack, folder: Path, name: str, model: Path, context: int) -> OtherServer:
    options = ("--model", str(model), "--max-model-len", str(context), *OPTIONS)
    server = running("MINIVAULT_VLLM", MODULE, *options, folder=folder, name=name, **SETTINGS)
    return stack.enter_context(server)


@pytest.fixture(scope="module")
def storyteller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A door before vLLM with a model that has no chat template."""
    folder = tmp_path_factory.mktemp("storyteller")
    with ExitStack() as stack:
        server = started(stack, folder, "one", MODELS / "storyteller", 256)
        yield stack.enter_context(live_server(folder, UpstreamBackend([server.url])))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[OtherServer]]:
    """Two vLLMs with SmolLM2, whose weights they get in float32: a GGUF file is not theirs."""
    folder = tmp_path_factory.mktemp("pair")
    unpack(folder / "smollm2")
    with ExitStack() as stack:
        yield [started(stack, folder, each, folder / "smollm2", 512) for each in ("one", "two")]


@pytest.fixture(scope="module")
def chat(pair: list[OtherServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A door before the first of them."""
    with live_server(tmp_path_factory.mktemp("chat"), UpstreamBackend([pair[0].url])) as door:
        yield door


def unpack(folder: Path) -> None:
    """SmolLM2's GGUF file as transformers keeps a model."""
    import torch

    from minivault.engine.transformers.gguf import gguf_model

    [path] = (MODELS / "smollm2").glob("*.gguf")
    gguf_model(path, torch.float32).save_pretrained(folder)
    tokenizer = tokenizer_of(GgufFile.open(path))
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": tokenizer.template,
        **tokenizer.names,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def test_a_text_has_a_seed_counts_and_an_end(storyteller: LiveServer) -> None:
    with Client(storyteller.url) as client:
        first = client.generate("Once upon a time", **ASKED).read()
        assert first.text == client.generate("Once upon a time", **ASKED).read().text
        record = storyteller.records()[-1]
        assert record["engine"]["kind"] == "vllm"
        assert record["engine"]["context_length"] == 256
        assert record["usage"]["completion_tokens"] == 24
        assert record["usage"]["prompt_tokens"] > 0
        stop = first.text.split()[2]
        cut = client.generate("Once upon a time", stop=[stop], **ASKED).read()
        assert cut.text == first.text.partition(stop)[0]
        with pytest.raises(PromptTooLong):
            client.generate("word " * 400, **ASKED).read()


def test_a_conversation_goes_by_its_template_and_is_counted(chat: LiveServer) -> None:
    with Client(chat.url) as client:
        health = client.health()
        assert health["model"]["chat"] is True
        assert "counted" not in str(health)
        asked: dict[str, Any] = {"seed": 1, "max_tokens": 40, "temperature": 0}
        answer = client.generate(messages=FRANCE, **asked).read()
        assert "Paris" in answer.text
        record = chat.records()[-1]
        assert record["prompt"] == FRANCE[0]["content"]
        assert record["usage"]["prompt_tokens"] > 30  # SmolLM2's system prompt is among them
        opened = [*FRANCE, {"role": "assistant", "content": "The capital of France is"}]
        assert client.generate(messages=opened, **asked).read().text.startswith(" Paris")
        with pytest.raises(PromptTooLong):
            client.generate(messages=[{"role": "user", "content": "word " * 600}], **asked).read()


def test_log_probabilities_are_told_as_openai_tells_them(chat: LiveServer) -> None:
    with Client(chat.url) as client:
        openai: Any = client.openai()
        model = chat.service.info.name
        asked = {"model": model, "messages": FRANCE, "max_tokens": 4, "temperature": 0, "seed": 1}
        told = openai.chat.completions.create(**asked, logprobs=True, top_logprobs=2).choices[0]
        tokens = told.logprobs.content
        assert "".join(each.token for each in tokens) == told.message.content
        assert all(each.logprob <= 0 and len(each.top_logprobs) == 2 for each in tokens)
        assert all(each.top_logprobs[0].token == each.token for each in tokens)  # temperature 0
    assert "before temperature" in chat.records()[-1]["engine"]["logprobs"]


def test_who_leaves_ends_the_text_there_too(chat: LiveServer, pair: list[OtherServer]) -> None:
    with Client(chat.url) as client:
        answer = client.generate("One, two, three,", seed=1, max_tokens=400, temperature=1.0)
        pieces = iter(answer)
        next(pieces)
        assert busy(pair[0].url) == 1
        answer.stop()
    wait_for(lambda: busy(pair[0].url) == 0)
    record = chat.records()[-1]
    assert record["finish_reason"] == "cancelled"
    assert 0 < record["usage"]["completion_tokens"] < 400


def busy(url: str) -> float:
    """How many texts it makes."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        found = re.search(r"^vllm:num_requests_running{.*} (\S+)$", answer.read().decode(), re.M)
    assert found
    return float(found[1])


def test_a_killed_server_is_gone_on_from_in_the_middle(
    pair: list[OtherServer], tmp_path: Path
) -> None:
    """The last one: it kills a server of the others'."""
    backend = UpstreamBackend([each.url for each in pair])
    with live_server(tmp_path, backend) as door, Client(door.url) as client:
        answer = client.generate("One, two, three, four,", seed=5, max_tokens=120, temperature=0)
        pieces = iter(answer)
        said = next(pieces)
        dying = next(each for each in pair if busy(each.url))
        dying.kill()
        said += "".join(pieces)
        record = door.records()[-1]
        assert record["response"] == said
        assert record["usage"]["completion_tokens"] == 120
        [splice] = record["engine"]["splices"]
        assert splice["from"] == dying.url
        assert 0 < splice["at"] < 120
        assert record["engine"]["reproducible"] is False
