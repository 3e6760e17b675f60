"""Open WebUI, set up as docs/clients.md shows, lists the model and passes its texts on."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clients.docs import section
from tests.clients.environments import client, elsewhere
from tests.live import wait_for
from tests.processes import Served

pytestmark = pytest.mark.clients
CHAT = "/api/chat/completions"


@pytest.fixture(scope="module")
def page(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Its own interface, with whoever uses it logged in."""
    home = tmp_path_factory.mktemp("open-webui")
    ((*bash, script),) = section("Open WebUI", server.url, home)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    script = script.replace("8080", str(port)).replace("\nopen-webui", "\nexec open-webui")
    with (home / "output").open("w") as output:
        process = subprocess.Popen(
            [*bash, script],
            cwd=home,
            env=client("open-webui", home, WEBUI_SECRET_KEY="none"),
            stdout=output,
            stderr=output,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as opened:
        try:
            wait_for(lambda: process.poll() is not None or is_there(opened), seconds=300)
            assert process.poll() is None, (home / "output").read_text()
            user = opened.post("/api/v1/auths/signin", json={"email": "", "password": ""}).json()
            opened.headers["Authorization"] = f"Bearer {user['token']}"
            yield opened
            assert elsewhere(home) == set()
        finally:
            process.terminate()
            process.wait(60)


def is_there(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def asked(**changes: Any) -> dict[str, Any]:
    said = {"model": "smollm2", "messages": [{"role": "user", "content": "Say hello to a cat."}]}
    return {**said, "max_tokens": 24, "temperature": 0.8, "seed": 11, **changes}


def test_it_lists_the_model(page: httpx.Client) -> None:
    assert [each["id"] for each in page.get("/api/models").json()["data"]] == ["smollm2"]


def test_a_chat_is_the_servers_whole_and_streamed(page: httpx.Client, server: Served) -> None:
    whole = page.post(CHAT, json=asked()).json()["choices"][0]["message"]["content"]
    stream = page.post(CHAT, json=asked(stream=True)).text
    data = [line.removeprefix("data: ") for line in stream.splitlines() if "data: {" in line]
    deltas = [json.loads(each)["choices"][0]["delta"] for each in data]
    assert "".join(each.get("content", "") for each in deltas) == whole
    assert [each["response"] for each in server.records()[-2:]] == [whole, whole]


def test_a_wrong_request_is_told_in_the_servers_words(page: httpx.Client) -> None:
    answer = page.post(CHAT, json=asked(temperature=5))
    assert "temperature: must be a number from 0 to 2" in answer.text
