"""OpenAI's own client against a server with a real model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from minivault.backends.local import LocalBackend
from minivault.model_store import ModelStore
from minivault.resources import resource
from minivault.settings import Settings
from tests.live import LiveServer, live_server, wait_for
from tests.processes import environment
from tests.web.asking import ask
from tests.web.openai.stage import refused

pytestmark = pytest.mark.slow
PROMPT = "Once upon a time there was"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    settings = Settings(threads=1, models_dir=resource("models"))
    model = ModelStore(settings.models_dir, offline=True).get("storyteller")
    with live_server(folder, LocalBackend(settings, model), ready=False) as live:
        wait_for(lambda: live.service.stage.status != "loading", seconds=120)  # it may compile
        yield live


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_the_same_seed_gives_the_same_text_by_every_door(
    server: LiveServer, client: openai.OpenAI
) -> None:
    body: dict[str, Any] = {"max_tokens": 20, "seed": 11, "temperature": 0.8, "top_p": 0.95}
    ours = {"top_k": 50, "repetition_penalty": 1.1}
    text = ask(server, "POST", "/generate", json={"prompt": PROMPT, **body, **ours}).text
    made = client.completions.create(model="storyteller", prompt=PROMPT, extra_body=ours, **body)
    assert made.choices[0].text == text
    stream = client.completions.create(
        model="storyteller", prompt=PROMPT, extra_body=ours, stream=True, **body
    )
    assert "".join(each.choices[0].text for each in stream) == text
    answer = client.chat.completions.create(
        model="storyteller",
        messages=[{"role": "user", "content": PROMPT}],
        extra_body=ours,
        **body,
    )
    assert answer.choices[0].message.content == text
    assert answer.model_extra is not None
    assert answer.model_extra["minivault"]["template"] == "plain"
    tokens = ask(server, "POST", "/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    made = client.completions.create(model="", prompt=tokens, extra_body=ours, **body)
    assert made.choices[0].text == text


def test_a_stream_that_is_put_together_has_everything(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="storyteller",
        messages=[{"role": "user", "content": PROMPT}],
        max_completion_tokens=10,
        stop=["."],
        logprobs=True,
        top_logprobs=2,
        n=2,
        seed=5,
        stream_options={"include_usage": True},
    ) as stream:
        for _ in stream:
            pass
        made = stream.current_completion_snapshot
    assert [each.message.role for each in made.choices] == ["assistant", "assistant"]
    assert made.usage is not None
    for choice in made.choices:
        assert choice.finish_reason in ("stop", "length")
        assert choice.logprobs is not None
        assert "".join(each.token for each in choice.logprobs.content or []).startswith(
            choice.message.content or ""
        )


def test_what_steers_a_text_is_recorded_and_made_again(
    server: LiveServer, client: openai.OpenAI
) -> None:
    token = ask(server, "POST", "/tokenize", json={"prompt": " the"}).json()["tokens"][-1]
    made = client.completions.create(
        model="",
        prompt=PROMPT,
        max_tokens=12,
        seed=3,
        frequency_penalty=0.5,
        presence_penalty=0.25,
        logit_bias={str(token): -100},
        extra_body={"min_p": 0.02},
    )
    assert " the " not in made.choices[0].text
    assert made.model_extra is not None
    ours = made.model_extra["minivault"]
    steered = {"min_p": 0.02, "frequency_penalty": 0.5, "presence_penalty": 0.25}
    assert steered.items() <= ours["params"].items()
    assert ours["params"]["logit_bias"] == {str(token): -100}
    for seq in (ours["receipt"]["seq"], _by_tokens(client)["receipt"]["seq"]):
        replayed = ask(server, "POST", f"/logs/records/{seq}/replay")
        assert json.loads(replayed.text.strip().splitlines()[-1])["verdict"] == "same"


def test_a_bias_of_a_token_that_is_never_drawn_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="draws from 8192 tokens") as error:
        client.completions.create(model="", prompt=PROMPT, logit_bias={"8192": 5})
    assert error.value.param == "logit_bias"


def _by_tokens(client: openai.OpenAI) -> dict[str, Any]:
    made = client.completions.create(model="", prompt=[0, 5, 6], max_tokens=5, seed=1)
    assert made.model_extra is not None
    ours: dict[str, Any] = made.model_extra["minivault"]
    return ours


def test_what_was_computed_before_is_told(server: LiveServer, client: openai.OpenAI) -> None:
    prompt = "The old lighthouse stood at the end of the pier. " * 12

    def cached() -> int:
        usage = client.completions.create(model="", prompt=prompt, max_tokens=2).usage
        assert usage
        assert usage.prompt_tokens_details
        return usage.prompt_tokens_details.cached_tokens or 0

    assert cached() == 0
    assert cached() >= 64
    record = server.records()[-1]
    assert 64 <= record["usage"]["cached_tokens"] < record["usage"]["prompt_tokens"]
    assert "cached_tokens" not in server.records()[-2]["usage"]


def test_an_empty_prompt_is_the_begin_of_a_text(client: openai.OpenAI) -> None:
    made = client.completions.create(model="", prompt="", max_tokens=5, seed=1)
    assert made.usage is not None
    assert made.usage.prompt_tokens == 1
    assert made.choices[0].text


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="temperature: must be a number from 0 to 2"):
        client.completions.create(model="", prompt="x", temperature=7)
    with pytest.raises(openai.NotFoundError, match="storyteller serves"):
        client.completions.create(model="gpt-4", prompt="x")
    with pytest.raises(openai.BadRequestError, match="maximum context length") as long:
        client.completions.create(model="", prompt="word " * 9999)
    assert long.value.code == "context_length_exceeded"


def test_tokens_are_told_and_read(server: LiveServer) -> None:
    told = ask(server, "POST", "/tokenize", json={"prompt": "Hello world"}).json()
    assert told["count"] == len(told["tokens"]) > 0
    back = ask(server, "POST", "/detokenize", json={"tokens": told["tokens"]}).json()
    assert back == {"prompt": "Hello world"}
    bare = {"content": "Hello world", "add_special_tokens": False}
    assert ask(server, "POST", "/tokenize", json=bare).json()["tokens"]
    turns = {"messages": [{"role": "user", "content": "Hello world"}]}
    assert ask(server, "POST", "/tokenize", json=turns).json() == told
    info = ask(server, "GET", "/tokenizer_info").json()
    assert info["model_max_length"] == told["max_model_len"]
    bad: list[dict[str, Any]] = [{"tokens": [-1]}, {"tokens": [10**6]}, {"tokens": ["x"]}, {}]
    for wrong in bad:
        assert refused(ask(server, "POST", "/detokenize", json=wrong))["param"] == "tokens"
    bad = [{}, {"prompt": 1}, {"prompt": "a", "messages": []}]
    for wrong in bad:
        refused(ask(server, "POST", "/tokenize", json=wrong))


class Hero(BaseModel):
    """Nested, with a choice and a pattern."""

    name: str = Field(pattern="^[A-Z][a-z]{1,8}$")
    age: int = Field(ge=0, le=99)
    kind: Literal["king", "queen"]
    friends: list[Annotated[str, Field(max_length=9)]] = Field(max_length=2)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_text_has_the_form_that_was_asked(
    server: LiveServer,
    client: openai.OpenAI,
    temperature: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same, too, where all that its schema allows is computed in the background."""
    made = client.chat.completions.parse(
        model="",
        messages=[{"role": "user", "content": PROMPT}],
        response_format=Hero,
        temperature=temperature,
        seed=3,
        max_tokens=200,
        frequency_penalty=0.5,
    )
    assert made.choices[0].finish_reason == "stop"
    assert isinstance(made.choices[0].message.parsed, Hero)
    record = server.records()[-1]
    assert record["params"]["response_format"]["schema"]["title"] == "Hero"
    for name in ("SHARE", "LEAST"):
        monkeypatch.setattr(f"minivault.engine.masks.{name}", -1.0)
    replayed = ask(server, "POST", f"/logs/records/{record['seq']}/replay")
    assert json.loads(replayed.text.strip().splitlines()[-1])["verdict"] == "same"
    assert server.records()[-1]["timings"]["schema_ms"] > 0


def test_a_pattern_that_leaves_too_much_open_ends_its_own_text(client: openai.OpenAI) -> None:
    schema = {"type": "string", "pattern": "^((([a-z]{0,9} ?){0,9},? ?){0,9};? ?){0,9}$"}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(openai.InternalServerError, match="simpler patterns") as error:
        client.completions.create(
            model="", prompt=PROMPT, max_tokens=90, extra_body={"response_format": form}
        )
    assert error.value.response.headers["x-should-retry"] == "false"


def test_any_object_and_a_response_too(client: openai.OpenAI) -> None:
    made = client.completions.create(
        model="",
        prompt=PROMPT,
        max_tokens=60,
        seed=1,
        extra_body={"response_format": {"type": "json_object"}},
    )
    assert made.choices[0].text.startswith("{")
    response = client.responses.parse(
        model="", input=PROMPT, text_format=Hero, max_output_tokens=200
    )
    assert isinstance(response.output_parsed, Hero)


@pytest.mark.parametrize(
    "schema, why",
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "Unsatisfiable"),
        ({"not": {}}, "not"),
        ({"description": "x" * 70_000}, "65536 characters"),
    ],
)
def test_a_schema_that_cannot_be_followed_says_why(
    client: openai.OpenAI, schema: dict[str, Any], why: str
) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="Invalid schema for response_format") as error:
        client.chat.completions.create(
            model="", messages=[{"role": "user", "content": "x"}], response_format=form
        )
    assert why in str(error.value)
    assert error.value.param == "response_format"


def test_32_echo_with_log_probabilities_scores_the_prompt(
    server: LiveServer, client: openai.OpenAI
) -> None:
    tokens = ask(server, "POST", "/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    body: dict[str, Any] = {"logprobs": 2, "seed": 4, "max_tokens": 3, "temperature": 0.5}
    made = client.completions.create(model="", prompt=PROMPT, echo=True, **body)
    seq = len(server.records())
    found = made.choices[0].logprobs
    assert found is not None
    scores, names = found.token_logprobs or [], found.tokens or []
    assert len(names) == len(scores) == len(tokens) + 3
    assert made.choices[0].text.startswith(PROMPT)
    assert "".join(names) == made.choices[0].text
    assert [scores[0], (found.top_logprobs or [])[0]] == [None, None]
    assert all(each <= 0 for each in scores[1:])
    plain = client.completions.create(model="", prompt=PROMPT, **body)
    assert made.choices[0].text == PROMPT + plain.choices[0].text
    parts = list(client.completions.create(model="", prompt=tokens, echo=True, stream=True, **body))
    told = [each.choices[0].logprobs for each in parts]
    assert [entry for each in told if each for entry in each.token_logprobs or []] == scores
    assert parts[0].choices[0].text == PROMPT
    alone = client.completions.create(
        model="", prompt=[tokens, tokens[:1]], echo=True, logprobs=1, max_tokens=0
    )
    assert [each.finish_reason for each in alone.choices] == ["length", "length"]
    assert alone.choices[0].logprobs is not None
    assert alone.choices[0].logprobs.token_logprobs == scores[:-3]
    assert alone.choices[1].text == PROMPT[: len(alone.choices[1].text)]
    replayed = ask(server, "POST", f"/logs/records/{seq}/replay")
    assert json.loads(replayed.text.strip().splitlines()[-1])["verdict"] == "same"


def test_llm_lists_the_model_and_prints_the_text_of_generate(
    server: LiveServer, tmp_path: Path
) -> None:
    def llm(*arguments: str) -> str:
        command = [sys.executable, "-m", "llm", "openai", "endpoint", f"{server.url}/v1"]
        home = environment(LLM_USER_PATH=str(tmp_path))
        return subprocess.check_output([*command, *arguments], env=home, text=True, timeout=60)

    body: dict[str, Any] = {"seed": 11, "temperature": 0.8, "max_tokens": 20, "top_p": 0.9}
    sampled = [word for name, value in body.items() for word in ("-o", name, str(value))]
    ours = {"top_k": 0, "repetition_penalty": 1.0}
    text = ask(server, "POST", "/generate", json={"prompt": PROMPT, **body, **ours}).text
    assert llm("--models") == "storyteller\n"
    assert llm("-m", "storyteller", *sampled, PROMPT) == f"{text}\n"
    assert llm("-m", "storyteller", *sampled, "--no-stream", PROMPT) == f"{text}\n"
    assert llm("-m", "storyteller", "--responses", "-o", "max_tokens", "5", PROMPT).strip()
