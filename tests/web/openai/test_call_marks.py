"""A model whose calls are marked by special tokens, over /v1: streamed, in the vault, replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from minivault.backends.local import LocalBackend
from minivault.model_store.model import read_model
from minivault.settings import Settings
from tests.engine.small_models import FAMILIES, transformers
from tests.engine.test_call_forms import INST, MISTRAL
from tests.engine.vocabularies import byte_level
from tests.live import LiveServer, live_server, wait_for
from tests.web.asking import ask

pytestmark = pytest.mark.slow

ADD = {
    "type": "object",
    "properties": {"x": {"enum": [1, 2]}},
    "required": ["x"],
    "additionalProperties": False,
}
BODY: dict[str, Any] = {
    "model": "",
    "messages": [{"role": "user", "content": "Add."}],
    "tools": [{"type": "function", "function": {"name": "add", "parameters": ADD}}],
    "seed": 5,
    "max_tokens": 120,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("marked")
    library, backend = transformers(), byte_level()
    tokenizer = library.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(INST)})
    tokenizer.chat_template = MISTRAL
    tokenizer.save_pretrained(folder)
    size = {"vocab_size": len(tokenizer), "initializer_range": 0.4, "eos_token_id": 0}
    config = library.AutoConfig.for_model("llama", **FAMILIES["llama"], **size)
    library.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    settings = Settings(threads=1, dtype="float32")
    with live_server(folder, LocalBackend(settings, read_model("m", folder)), ready=False) as live:
        wait_for(lambda: live.service.stage.status != "loading", seconds=120)
        yield live


def test_a_call_that_special_tokens_mark_is_told_in_parts_and_replays(server: LiveServer) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        for choice in ("auto", "required"):  # the first may say anything, and must not be refused
            made = client.chat.completions.create(**BODY, tool_choice=choice)
        (whole,) = made.choices
        assert whole.finish_reason == "tool_calls"
        assert whole.message.tool_calls
        calls = [each.to_dict()["function"] for each in whole.message.tool_calls]
        assert {each["name"] for each in calls} == {"add"}
        assert all(json.loads(each["arguments"])["x"] in (1, 2) for each in calls)
        with client.chat.completions.stream(**BODY, tool_choice="required") as stream:
            (streamed,) = stream.get_final_completion().choices
        told = streamed.message.tool_calls or []
        assert [each.function.arguments for each in told] == [each["arguments"] for each in calls]
        given = {"role": "tool", "tool_call_id": whole.message.tool_calls[0].id, "content": "3"}
        back = [*BODY["messages"], whole.message.to_dict(), given]
        client.chat.completions.create(**BODY | {"messages": back})
    record = server.records()[1]
    assert record["response"].startswith('[TOOL_CALLS] [{"name": "add", "arguments": {"x": ')
    assert "[TOOL_CALLS]" in record["params"]["response_format"]["marks"]
    replayed = ask(server, "POST", f"/logs/records/{record['seq']}/replay")
    assert json.loads(replayed.text.strip().splitlines()[-1])["verdict"] == "same"
