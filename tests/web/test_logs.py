"""The log as JSON: pages of records, one record, history, verification, replay, download."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from minivault.vault import Vault, writer
from minivault.vault.redact import copies_of, redact
from minivault.vault.tree.proof import Inclusion
from minivault.web import proofs
from tests.live import LiveServer, live_server, wait_for
from tests.vault.samples import write
from tests.web.asking import connection, to_end

RECORDS = 12
DAMAGED = "log-000000000007.jsonl.gz"


@pytest.fixture(autouse=True)
def many_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree grows fifty times a second, not once."""
    monkeypatch.setattr(writer, "_TICK", 0.02)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("logs")) as server:
        for number in range(RECORDS):
            accept = "application/json" if number % 2 else "text/plain"
            body = {"prompt": f"letter {number}", "max_tokens": 4, "seed": number}
            answer = httpx.post(
                f"{server.url}/generate", timeout=60, json=body, headers={"Accept": accept}
            )
            assert answer.status_code == 200
        yield server


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def seqs(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200
    return [each["seq"] for each in answer.json()["records"]]


def test_pages_go_from_the_newest_to_the_first(client: httpx.Client) -> None:
    found: list[int] = []
    before: int | None = None
    while True:
        query = {"limit": 5} | ({"before": before} if before else {})
        page = client.get("/logs/records", params=query)
        found += seqs(page)
        before = page.json()["before"]
        if before is None:
            break
    assert found == list(range(RECORDS, 0, -1))
    assert (page.json()["first"], page.json()["last"]) == (1, RECORDS)


@pytest.mark.parametrize(
    "query,expected",
    [
        ({"q": "LETTER 3"}, [4]),
        ({"client": "json"}, [12, 10, 8, 6, 4, 2]),
        ({"finish_reason": "error"}, []),
        ({"model": "echo", "limit": 2}, [12, 11]),
        ({"since": "2000"}, list(range(12, 0, -1))),
        ({"until": "2000"}, []),
    ],
)
def test_filters_choose(client: httpx.Client, query: dict[str, Any], expected: list[int]) -> None:
    assert seqs(client.get("/logs/records", params=query)) == expected


@pytest.mark.parametrize(
    "query,field",
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("before=0", "before"),
        ("finish_reason=tired", "finish_reason"),
        ("since=yesterday", "since"),
        ("color=red", "color"),
        ("limit=1&limit=2", "limit"),
    ],
)
def test_a_wrong_query_is_refused_by_name(client: httpx.Client, query: str, field: str) -> None:
    answer = client.get(f"/logs/records?{query}")
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


def test_a_record_is_the_line_as_it_stands(client: httpx.Client, server: LiveServer) -> None:
    line = server.log.read_text().splitlines()[6]
    found = client.get("/logs/records/7").json()
    assert found["line"] == line
    assert found["record"] == json.loads(line)
    assert found["hash"] == hashlib.sha256(line.encode()).hexdigest()


@pytest.mark.parametrize("seq", ["0", "99", "-1", "one", "9" * 40])
def test_what_is_not_there_is_not_found(client: httpx.Client, seq: str) -> None:
    assert client.get(f"/logs/records/{seq}").status_code == 404
    assert client.post(f"/logs/records/{seq}/replay").status_code == 404


def test_verification_finds_the_log_whole_and_is_remembered(client: httpx.Client) -> None:
    found = client.get("/logs/verify").json()
    assert found["ok"] is True
    assert found["last"] >= RECORDS
    assert client.get("/logs/history").json()["verified"] == found


def test_verification_reports_line_by_line_where_asked(client: httpx.Client) -> None:
    answer = client.get("/logs/verify", headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert json.loads(answer.text.splitlines()[-1])["result"]["ok"] is True


def test_history_counts_every_request(client: httpx.Client, server: LiveServer) -> None:
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    buckets = client.get("/logs/history").json()["buckets"]
    assert sum(each["requests"] for each in buckets) == len(lines)
    assert sum(each["tokens"] for each in buckets) == 4 * len(lines)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """In the middle of its log a packed file is damaged, and a newer line is no record."""
    folder = tmp_path_factory.mktemp("damaged")
    vault = Vault(folder / "logs", max_bytes=2000)
    vault.open()
    for number in range(30):
        write(vault, f"g{number}")
    vault.close()
    old = sorted((folder / "logs").glob("log-*.jsonl"))[2]
    data = gzip.compress(old.read_bytes())
    old.with_name(DAMAGED).write_bytes(data[:-12] + b"damaged" + data[-5:])
    old.unlink()
    newest = folder / "logs" / "log.jsonl"
    lines = newest.read_bytes().splitlines(keepends=True)
    with live_server(folder) as server:
        newest.write_bytes(b"".join([b"{" * (len(lines[0]) - 1) + b"\n", *lines[1:]]))
        yield server


def test_what_is_damaged_is_named_and_the_rest_is_shown(damaged: LiveServer) -> None:
    with httpx.Client(base_url=damaged.url) as client:
        history = client.get("/logs/history").json()
        found, before, unreadable = set(), None, set()
        while True:
            query = {"limit": 7} | ({"before": before} if before else {})
            page = client.get("/logs/records", params=query)
            found |= set(seqs(page))
            before = page.json()["before"]
            unreadable |= set(page.json()["unreadable"])
            if before is None:
                break
    with connection(damaged, "GET", "/logs/download", "*/*") as opened:
        whole = to_end(opened)
    assert history["unreadable"] == [DAMAGED]
    assert unreadable == {DAMAGED, "the log"}
    missing = set(range(1, 31)) - found
    assert 2 < len(missing) < 10
    assert {1, 2, 29, 30} <= found
    assert sum(each["requests"] for each in history["buckets"]) == len(found)
    assert whole.count(b'"prompt"') >= len(found), "all that can be read is sent"
    assert not whole.endswith(b"0\r\n\r\n"), "and then no end"


def test_the_download_is_the_log_and_a_filter_holds_for_it(
    client: httpx.Client, server: LiveServer
) -> None:
    assert client.get("/logs/download").content == server.log.read_bytes()
    some = client.get("/logs/download", params={"q": "letter 3"}).text.splitlines()
    assert [json.loads(line)["seq"] for line in some] == [4]


def test_a_replay_says_whether_it_is_the_same(client: httpx.Client) -> None:
    found = client.post("/logs/records/5/replay").json()
    assert found["verdict"] == "same"
    assert found["text"] == found["recorded"]


def test_another_sites_page_learns_nothing(client: httpx.Client) -> None:
    for path in ("/logs/records", "/logs/verify", "/logs/download"):
        assert client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_a_record_is_proven_in_a_file_of_its_own(
    client: httpx.Client, server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = client.get("/logs/records/3/proof")
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["content-disposition"] == 'attachment; filename="3.tlog-proof"'
    proof = Inclusion.parse(answer.content)
    proof.require(None)
    assert proof.line == server.log.read_bytes().split(b"\n")[2]
    bare = Inclusion.parse(client.get("/logs/records/3/proof?hash_only=true").content)
    assert (bare.line, bare.digest) == (None, proof.digest)
    assert client.get("/logs/records/3/proof?hash=1").status_code == 422
    monkeypatch.setattr(proofs, "_WAIT", 3600.0)  # a record that cannot come is not waited for
    for seq in ("0", "99", "x"):
        assert client.get(f"/logs/records/{seq}/proof").status_code == 404
    tree = client.get("/logs/tree").json()
    assert (tree["first"], tree["is_signed"]) == (1, False)
    assert tree["checkpoint"].startswith(f"{tree['name']}\n{tree['last']}\n")


def test_the_newest_record_is_proven_as_soon_as_it_is_in_the_tree(client: httpx.Client) -> None:
    body = {"prompt": "new", "max_tokens": 1, "seed": 1}
    made = client.post("/generate", json=body, headers={"Accept": "application/json"}).json()
    seq = made["receipt"]["seq"]
    proof = Inclusion.parse(client.get(f"/logs/records/{seq}/proof", timeout=60).content)
    assert (proof.seq, proof.digest) == (seq, made["receipt"]["hash"])


def test_a_redacted_text_is_gone_from_the_running_server_too(
    client: httpx.Client, server: LiveServer
) -> None:
    body = {"prompt": "a canary sings", "max_tokens": 4, "seed": 1}
    said = client.post("/generate", json=body, headers={"Accept": "application/json"}).json()
    kept = client.get(f"/generate/{said['id']}")
    assert "canary" in kept.text
    seq = said["receipt"]["seq"]
    assert client.post(f"/logs/records/{seq}/replay").json()["verdict"] == "same"
    folder = server.log.parent
    redact(folder, seq, others=copies_of(folder, seq))
    wait_for(lambda: client.get(f"/generate/{said['id']}").status_code == 404)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert b"canary" not in b"".join(path.read_bytes() for path in files)
    assert client.get("/logs/verify").json()["redacted"] == [seq, seq + 1]
