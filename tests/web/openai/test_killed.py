"""A response in the background outlives the server: `kill -9`, and it goes on."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import openai
import pytest

from tests.processes import Served, serving

pytestmark = pytest.mark.slow
HALTING = ("--backend", "tests.echoes:Halting")
INPUT = "one two three four five six seven"


def client_of(server: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}v1", api_key="none", max_retries=0)


def test_a_killed_response_goes_on_where_its_reader_was(tmp_path: Path) -> None:
    with serving(tmp_path, *HALTING) as server, client_of(server) as client:
        stream = client.responses.create(
            model="", input=INPUT, background=True, stream=True, max_output_tokens=30
        )
        heard, text, id = -1, "", ""
        for event in stream:
            heard = event.sequence_number
            if event.type == "response.created":
                id = event.response.id
            if event.type == "response.output_text.delta":
                text += event.delta
                if heard > 8:
                    break
        server.stop(signal.SIGKILL)
        stream.close()
    (tmp_path / "go").touch()
    with serving(tmp_path, *HALTING) as server, client_of(server) as client:
        last = None
        for event in client.responses.retrieve(id, stream=True, starting_after=heard):
            assert event.sequence_number == heard + 1
            heard, last = event.sequence_number, event
            text += event.delta if event.type == "response.output_text.delta" else ""
        assert last is not None
        assert last.type == "response.incomplete"  # its limit
        assert last.response.output_text == text
        assert len(text.split()) == 30
        while client.responses.retrieve(id).status == "in_progress":
            time.sleep(0.02)
        assert client.responses.retrieve(id).output_text == text
