"""llama.cpp's server, by llama-cpp-python, as an upstream. `make test-upstreams`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from minivault.backends.upstream import UpstreamBackend
from minivault.client import Client
from minivault.errors import InvalidRequest
from tests.backends.other_servers import MODELS, running
from tests.live import LiveServer, live_server

pytestmark = pytest.mark.upstreams

ASKED: dict[str, Any] = {"seed": 11, "max_tokens": 24, "temperature": 0.7}


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A door before llama-cpp-python's server, which makes one text at a time."""
    folder = tmp_path_factory.mktemp("llama")
    [model] = (MODELS / "smollm2").glob("*.gguf")
    options = [
        "--model",
        str(model),
        "--n_ctx",
        "1024",
        "--n_threads",
        "1",
        "--n_threads_batch",
        "1",
    ]
    options += ["--logits_all", "true", "--interrupt_requests", "false", "--verbose", "false"]
    with (
        running("MINIVAULT_LLAMA_CPP", "llama_cpp.server", *options, folder=folder) as server,
        live_server(folder, UpstreamBackend([server.url], limit=1)) as door,
    ):
        yield door


def test_llama_cpp_continues_a_text(llama: LiveServer) -> None:
    with Client(llama.url) as client:
        first = client.generate("The capital of France is", **ASKED).read()
        again = client.generate("The capital of France is", **ASKED).read()
        assert first.text == again.text  # its seed is honoured
        record = llama.records()[-1]
        assert record["engine"]["kind"] == "llama-cpp-python"
        assert record["engine"]["context_length"] is None or record["engine"]["context_length"] > 0
        assert record["usage"] == {"prompt_tokens": 5, "completion_tokens": 24}
        assert record["finish_reason"] == "length"
        stop = first.text.split()[2]
        cut = client.generate("The capital of France is", stop=[stop], **ASKED).read()
        assert cut.text == first.text.partition(stop)[0]
        assert llama.records()[-1]["finish_reason"] == "stop"


def test_llama_cpp_answers_a_conversation(llama: LiveServer) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    with Client(llama.url) as client:
        assert client.health()["model"]["chat"] is True
        asked: dict[str, Any] = {"seed": 1, "max_tokens": 40, "temperature": 0}
        answer = client.generate(messages=messages, **asked).read()
        assert "capital of France" in answer.text  # an answer, not more of the question
        record = llama.records()[-1]
        assert record["prompt"] == messages[0]["content"]
        assert record["messages"][0]["role"] == "user"
        messages.append({"role": "assistant", "content": "It is"})
        with pytest.raises(InvalidRequest, match="begins another answer"):
            client.generate(messages=messages, **asked).read()


def test_llama_cpp_tells_log_probabilities(llama: LiveServer) -> None:
    with Client(llama.url) as client:
        openai: Any = client.openai()
        asked = {"model": "x", "prompt": "One, two, three,", "max_tokens": 3, "temperature": 0}
        asked["model"] = llama.service.info.name
        told = openai.completions.create(**asked, logprobs=2, seed=1).choices[0]
        assert "".join(told.logprobs.tokens) == told.text
        assert all(value <= 0 for value in told.logprobs.token_logprobs)
        assert all(len(each) == 2 for each in told.logprobs.top_logprobs)
    assert "before temperature" in llama.records()[-1]["engine"]["logprobs"]
