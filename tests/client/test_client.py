"""The client against real servers: whole texts, cuts, kills, the log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import minivault
from minivault import AsyncClient, Client
from minivault.client import Receipt, reading
from minivault.client.connection import DEFAULT_URL
from minivault.client.proof import require_proof
from minivault.errors import InvalidRequest, NotFound, NotProven, Unauthorized, Unreachable
from minivault.vault import writer
from minivault.vault.signing import load_public_key, verifier_key, write_keys
from minivault.web import sse
from tests.faults.cutproxy import CutProxy
from tests.generations.backends import Reins
from tests.live import LiveServer, live_server, wait_for
from tests.processes import serving

PROMPT = "one two three four five"


@pytest.fixture(autouse=True)
def many_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree grows fifty times a second, not once."""
    monkeypatch.setattr(writer, "_TICK", 0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("client"), allowed_host=["127.0.0.1"]) as server:
        yield server


@pytest.fixture
def client(server: LiveServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_a_text_piece_by_piece_and_what_is_known_of_it(client: Client) -> None:
    answer = client.generate(PROMPT, max_tokens=4, seed=11)
    pieces = list(answer)
    assert "".join(pieces) == answer.text == str(answer)
    assert len(pieces) > 1
    assert answer.id
    assert (answer.seed, answer.finish_reason, answer.model) == (11, "length", "echo")
    assert answer.usage["completion_tokens"] == 4
    assert answer.params["max_tokens"] == 4
    assert answer.verify() == answer.receipt


def test_a_log_that_is_signed_is_held_against_the_key(tmp_path: Path) -> None:
    write_keys(tmp_path / "key", tmp_path / "public")
    write_keys(tmp_path / "other", tmp_path / "another")
    public, another = ((tmp_path / name).read_text() for name in ("public", "another"))
    line = verifier_key("name", load_public_key(tmp_path / "public"))
    with (
        live_server(tmp_path, signing_key=tmp_path / "key") as server,
        Client(server.url) as client,
    ):
        answer = client.generate(PROMPT, max_tokens=4).read()
        assert answer.verify(public) == answer.verify(line) == answer.receipt
        with pytest.raises(NotProven, match="not signed with this key"):
            answer.verify(another)
        with pytest.raises(NotProven, match="no Ed25519 key"):
            answer.verify("a key")
        proof = client.request("GET", "/logs/records/1/proof?hash_only=true")["text"]
        assert answer.receipt
        for receipt, words in (
            (Receipt(2, answer.receipt.hash), "does not stand in the tree"),
            (Receipt(1, "0" * 64), "is no proof"),
        ):
            with pytest.raises(NotProven, match=words):
                require_proof(proof, receipt, public)
        forged = re.sub(r"(index \d+\n)", r"\g<1>" + "A" * 43 + "=\n", proof)
        with pytest.raises(NotProven, match="does not stand in the tree"):
            require_proof(forged, answer.receipt, public)

        async def verified() -> object:
            async with AsyncClient(server.url) as there:
                return await (await there.generate(PROMPT, max_tokens=2)).verify(public)

        assert asyncio.run(verified())


def test_awaited_it_is_the_same_text(server: LiveServer, client: Client) -> None:
    async def read() -> tuple[str, str]:
        async with AsyncClient(server.url) as there:
            whole = await there.generate(PROMPT, max_tokens=4, seed=11)
            await whole.verify()
            async with there.generate(PROMPT, max_tokens=4, seed=11) as again:
                pieces = [piece async for piece in again]
            records = [each async for each in there.records(limit=1)]
            assert [each["seq"] for each in records] == list(range(len(records), 0, -1))
            assert (await there.health())["status"] == "ready"
            assert (await there.models())["models"] is not None
            assert (await there.record(1))["seq"] == 1
            return whole.text, "".join(pieces)

    assert asyncio.run(read()) == (str(client.generate(PROMPT, max_tokens=4, seed=11)),) * 2


MODES: list[Literal["fin", "rst"]] = ["fin", "rst"]


def test_cuts_are_not_noticed(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "_RETRY", b"retry: 20\n\n")
    monkeypatch.setattr(reading, "FIRST_PAUSE", 0.02)
    with Client(server.url) as client:
        whole = str(client.generate(PROMPT, max_tokens=60, seed=5))
    for mode in MODES:
        with CutProxy(server.port, after_bytes=900, times=3, mode=mode) as proxy:
            with Client(f"http://127.0.0.1:{proxy.port}") as client:
                assert str(client.generate(PROMPT, max_tokens=60, seed=5)) == whole
            assert proxy.cuts == 3


@pytest.mark.slow
def test_a_killed_server_is_not_noticed_either(
    server: LiveServer, tmp_path: Path, port: int
) -> None:
    with Client(server.url) as client:
        whole = str(client.generate(PROMPT, max_tokens=60, seed=5))
    options = ("--backend", "tests.echoes:Halting", "--port", str(port))
    with Client(f"http://127.0.0.1:{port}") as client:
        with serving(tmp_path, *options) as first:
            answer = client.generate(PROMPT, max_tokens=60, seed=5)
            begin = next(iter(answer))
            first.process.kill()
            first.process.wait()
        (tmp_path / "go").touch()
        with serving(tmp_path, *options):
            assert begin + "".join(answer) == whole == answer.text
            answer.verify()


def test_leaving_early_stops_it(tmp_path: Path) -> None:
    reins = Reins(allowed=2)
    with live_server(tmp_path, reins) as server, Client(server.url) as client:
        with client.generate("Hello", max_tokens=50) as answer:
            next(iter(answer))
        wait_for(lambda: server.log.exists() and server.records())
        assert server.records()[0]["finish_reason"] == "cancelled"


def test_the_log_through_the_client(client: Client) -> None:
    answer = client.generate(PROMPT, max_tokens=3, seed=2).read()
    assert answer.receipt
    seq = answer.receipt.seq
    assert next(client.records(limit=2))["seq"] == seq
    assert client.record(seq)["record"]["response"] == answer.text
    assert client.replay(seq)["verdict"] == "same"
    assert client.health()["status"] == "ready"
    with pytest.raises(NotFound):
        client.record(10**9)


def test_a_text_that_is_not_the_logs_is_not_verified(server: LiveServer, client: Client) -> None:
    answer = client.generate(PROMPT, max_tokens=3, seed=2)
    with pytest.raises(NotProven, match="read the text to its end"):
        answer.verify()
    answer.read()
    answer._reading.text += "!"
    with pytest.raises(NotProven, match="another text"):
        answer.verify()
    other = client.generate(PROMPT, max_tokens=3, seed=2).read()
    answer._reading.end["receipt"]["seq"] = other._reading.end["receipt"]["seq"]
    with pytest.raises(NotProven, match="not the line"):
        answer.verify()


def test_wrong_input_says_which_and_nobody_there_says_what_to_do(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="temperature") as raised:
        str(client.generate("x", temperature=9))
    assert raised.value.errors[0].field == "temperature"
    with pytest.raises(InvalidRequest, match="sede"):
        str(client.generate("x", sede=9))
    with Client("http://127.0.0.1:9") as nobody:
        with pytest.raises(Unreachable, match="minivault serve"):
            str(nobody.generate("x"))
        with pytest.raises(Unreachable, match="MINIVAULT_URL"):
            nobody.health()


def test_address_and_key_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Client().url == DEFAULT_URL
    with live_server(tmp_path, api_key=["a-key-of-twenty-letters"]) as server:
        monkeypatch.setenv("MINIVAULT_URL", server.url)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # none for loopback
        with Client() as stranger, pytest.raises(Unauthorized):
            str(stranger.generate("x"))
        monkeypatch.setenv("MINIVAULT_API_KEY", "a-key-of-twenty-letters")
        with Client() as client:
            assert client.generate("x y z", max_tokens=2).read().verify()


def test_openais_client_for_the_same_server(server: LiveServer) -> None:
    pytest.importorskip("openai")
    with Client(server.url, "k" * 20) as client:
        assert str(client.openai().base_url) == f"{server.url}/v1/"
        assert client.openai().api_key == "k" * 20


def test_the_package_gives_its_parts_by_name_and_nothing_else() -> None:
    assert all(getattr(minivault, name) for name in minivault.__all__)
    assert minivault.Client is Client
    with pytest.raises(AttributeError, match="Clint"):
        _ = minivault.Clint
