"""Other people's servers as upstreams: llama.cpp's, and vLLM where it is. `make test-upstreams`."""

from __future__ import annotations

import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minivault.backends.upstream import UpstreamBackend
from minivault.client import Client
from minivault.errors import InvalidRequest, PromptTooLong
from tests.live import LiveServer, live_server, wait_for

pytestmark = pytest.mark.upstreams

MODELS = Path(__file__).parents[2] / "models"
ASKED: dict[str, Any] = {"seed": 11, "max_tokens": 24, "temperature": 0.7}


@contextmanager
def running(variable: str, *arguments: str, folder: Path, **extra: str) -> Iterator[str]:
    """A server started by the Python that the variable names; gives its address."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no Python that has this server")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [python, "-m", *arguments, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", **extra},
        )
    try:
        wait_for(lambda: answers(url, process, folder / "output"), seconds=180)
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str, process: subprocess.Popen[bytes], output: Path) -> bool:
    assert process.poll() is None, output.read_text()[-2000:]
    try:
        with urllib.request.urlopen(f"{url}/v1/models", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


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
        running("MINIVAULT_LLAMA_CPP", "llama_cpp.server", *options, folder=folder) as url,
        live_server(folder, UpstreamBackend([url], limit=1)) as door,
    ):
        yield door


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("vllm")
    options = ["--model", str(MODELS / "storyteller"), "--dtype", "float32", "--enforce-eager"]
    options += ["--max-model-len", "256", "--max-num-seqs", "8"]
    with (
        running(
            "MINIVAULT_VLLM",
            "vllm.entrypoints.openai.api_server",
            *options,
            folder=folder,
            VLLM_CPU_KVCACHE_SPACE="1",
            VLLM_NO_USAGE_STATS="1",
            OMP_NUM_THREADS="1",
        ) as url,
        live_server(folder, UpstreamBackend([url])) as door,
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


def test_vllm_tells_each_token(vllm: LiveServer) -> None:
    with Client(vllm.url) as client:
        first = client.generate("Once upon a time", **ASKED).read()
        assert first.text == client.generate("Once upon a time", **ASKED).read().text
        record = vllm.records()[-1]
        assert record["engine"]["kind"] == "vllm"
        assert record["engine"]["context_length"] == 256
        assert record["usage"]["completion_tokens"] == 24
        assert record["usage"]["prompt_tokens"] > 0
        with pytest.raises(PromptTooLong):
            client.generate("word " * 400, **ASKED).read()
