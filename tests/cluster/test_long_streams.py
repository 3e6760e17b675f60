"""Long event streams while replicas die, leave and come: every reader gets the whole text."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

from minivault.vault.record import Record
from tests.cluster.event_source import EventSource, read_all, until
from tests.cluster.fleets import Fleet, echo_text, fleet
from tests.faults.crowd import read_answer, request, talk

pytestmark = pytest.mark.cluster

PROMPT = "once upon a time there was a fox"


def sources(fleet: Fleet, count: int, tokens: int, **more: Any) -> list[EventSource]:
    """Readers with a key and a seed of their own."""
    name = more.pop("name", "key")
    return [
        EventSource(
            fleet.port,
            {"prompt": PROMPT, "max_tokens": tokens, "seed": seed, "key": f"{name}-reader-{seed}"},
            **more,
        )
        for seed in range(count)
    ]


def require_whole(readers: list[EventSource]) -> None:
    for each in readers:
        assert each.end == "length"
        assert each.text == echo_text(PROMPT, each.query["seed"], each.query["max_tokens"])


async def while_reading(readers: list[EventSource], happens: Any) -> None:
    """Does something once everybody has ten pieces; returns when all is read."""
    reading = asyncio.create_task(read_all(readers))
    await until(lambda: all(each.next > 10 or each.end for each in readers))
    await asyncio.to_thread(happens)
    await reading


def continued(records: list[Record]) -> int:
    """How many of them a text was made again for."""
    return sum("continues" in record.fields for record in records)


def test_a_killed_replica_costs_its_readers_seconds_and_no_word(echoes: Fleet) -> None:
    readers = sources(echoes, 8, 150, name="one")
    asyncio.run(while_reading(readers, lambda: echoes.kill(1)))
    require_whole(readers)
    assert {each.connections for each in readers} <= {1, 2}
    print("gaps:", sorted(round(max(each.gaps), 2) for each in readers))
    assert max(max(each.gaps) for each in readers) < 3


def test_all_replicas_killed_at_once_come_back_with_every_text(echoes: Fleet) -> None:
    readers = sources(echoes, 4, 150, name="all")
    asyncio.run(while_reading(readers, lambda: echoes.kill(2)))
    require_whole(readers)
    print("gaps:", sorted(round(max(each.gaps), 2) for each in readers))


def test_a_rolling_update_cuts_no_stream(echoes: Fleet) -> None:
    readers = sources(echoes, 8, 500, name="roll")
    before = echoes.replicas()

    def replace() -> None:
        said = len(echoes.output)
        echoes.process.send_signal(signal.SIGHUP)
        echoes.wait_for("replicas are replaced", after=said)

    asyncio.run(while_reading(readers, replace))
    require_whole(readers)
    assert [each.connections for each in readers] == [1] * 8
    assert not set(before) & set(echoes.replicas())


def test_with_a_key_a_broken_connection_finds_its_own_text_again(echoes: Fleet) -> None:
    before = continued(echoes.records())
    readers = sources(echoes, 16, 120, name="broken", drop_at=25)
    asyncio.run(read_all(readers))
    require_whole(readers)
    assert [each.connections for each in readers] == [2] * 16
    ids = {each.id for each in readers}
    found = [record for record in echoes.records() if record.id in ids]
    assert len(found) == 16
    assert continued(echoes.records()) == before


def test_with_a_key_a_stop_finds_its_text(echoes: Fleet) -> None:
    readers = sources(echoes, 6, 1000, name="stop")

    async def stop_all() -> list[int]:
        reading = asyncio.create_task(read_all(readers))
        await until(lambda: all(each.next > 5 for each in readers))
        answers = [
            await talk(
                echoes.port,
                request(f"/generate/{each.id}", method="DELETE", key=each.query["key"]),
            )
            for each in readers
        ]
        await reading
        return [answer.status for answer in answers]

    assert asyncio.run(stop_all()) == [200] * 6
    assert [each.end for each in readers] == ["cancelled"] * 6


def test_who_is_answered_is_named_once(echoes: Fleet) -> None:
    asked = request(accept="application/json", prompt="a", max_tokens=2, key="named-once")
    raw = asyncio.run(_raw(echoes.port, asked))
    assert raw.lower().count(b"x-request-id:") == 1
    own = asyncio.run(
        _raw(echoes.port, asked.replace(b"\r\n\r\n", b"\r\nX-Request-Id: me\r\n\r\n"))
    )
    assert b"x-request-id: me\r\n" in own.lower()


async def _raw(port: int, asked: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    received = await reader.read()
    writer.close()
    assert read_answer(received).status == 200
    return received


def test_no_prompt_lies_in_any_file_of_rays(echoes: Fleet) -> None:
    """Nor does HAProxy say any: its lines go nowhere."""
    secret = "mellifluous"
    reader = EventSource(echoes.port, {"prompt": secret, "max_tokens": 5, "key": secret})
    asyncio.run(reader.read())
    assert reader.end == "length"
    files = [path for path in echoes.scratch.rglob("*") if path.is_file()]
    assert any(path.suffix == ".cfg" for path in files)
    assert any(path.suffix == ".log" for path in files)
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_what_listens_to_other_machines_wants_a_token(echoes: Fleet) -> None:
    """Nothing does but what Serve binds so: a port of each replica's, for calls between them."""
    require_tokens({port for pid in echoes.rest() for port in open_ports(pid)})


def require_tokens(ports: set[int]) -> None:
    """Of these, which are Serve's own between replicas."""
    assert len(ports) <= 2
    for port in ports:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refused:
                call(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def open_ports(pid: int) -> set[int]:
    """Those on which a process listens on all addresses; none of one that has ended meanwhile."""
    inodes, rows = set(), list[list[str]]()
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(link))
    with contextlib.suppress(OSError):
        for name in ("tcp", "tcp6"):
            table = Path(f"/proc/{pid}/net/{name}").read_text()
            rows += [row.split() for row in table.splitlines()[1:]]
    return {
        int(port, 16)
        for _, local, _, state, *_, inode in (row[:10] for row in rows)
        for address, port in [local.split(":")]
        if state == "0A" and not address.strip("0") and f"socket:[{inode}]" in inodes
    }


def test_the_ports_of_replicas_show_no_log_where_the_door_is_guarded(tmp_path: Path) -> None:
    """A replica believes its door's address, whatever address it is asked at."""
    key = "kestrel-under-7-bridges"
    options = ("--backend", "echo", "--host", "0.0.0.0", "--api-key", key, "--replicas", "1")
    with fleet(tmp_path, *options) as guarded:
        for port in (guarded.port, _replica_port(guarded)):
            log = asyncio.run(talk(port, request("/logs/records", accept="application/json")))
            assert log.status == 401
        assert asyncio.run(try_keys(guarded.port))[-1] == 429, "keys can be guessed without a wait"
        open_to_all = {port for pid in guarded.rest() for port in open_ports(pid)}
        assert guarded.port in open_to_all
        require_tokens(open_to_all - {guarded.port})
        assert guarded.stop() == 0


async def try_keys(port: int) -> list[int]:
    """The statuses of wrong keys, each said to come from somewhere else."""
    answers = []
    for number in range(7):
        head = {"Authorization": "Bearer wrong", "X-Forwarded-For": f"192.0.2.{number}"}
        answers.append(await talk(port, request("/generate", headers=head, prompt="a")))
    return [each.status for each in answers]


def _replica_port(fleet: Fleet) -> int:
    """As HAProxy was told it."""
    [path] = fleet.scratch.rglob("haproxy.cfg")
    found = re.search(r"^ +server SERVE_REPLICA\S+ \S+:(\d+) ", path.read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def test_a_replica_serves_when_its_model_does_and_leaves_when_its_engine_fails(
    tmp_path: Path,
) -> None:
    options = ("--backend", "tests.cluster.backends:Frail", "--replicas", "1")
    with fleet(tmp_path, *options, ready=False, FLEET=str(tmp_path)) as frail:
        asyncio.run(until(frail.replicas))
        health = request("/health", accept="application/json")
        asked = asyncio.run(_unanswered(frail.port, health))
        assert asked, "a replica answers before its model serves"
        (tmp_path / "loaded").touch()
        frail.wait_for("^replicas 1 serve")
        [first] = frail.replicas()
        (tmp_path / "sick").touch()
        frail.wait_for("^replicas 0 serve")
        (tmp_path / "sick").unlink()
        asyncio.run(until(lambda: frail.replicas() not in ([], [first])))
        frail.wait_for("^replicas 1 serve", after=len(frail.output) - 1)


async def _unanswered(port: int, asked: bytes) -> bool:
    """Whether nobody says 200 within a second."""
    try:
        return (await talk(port, asked, seconds=1)).status != 200
    except (OSError, TimeoutError):
        return True


def test_the_fleet_follows_the_work(tmp_path: Path) -> None:
    options = ("--backend", "tests.echoes:Slow", "--replicas", "1", "--max-replicas", "2")
    with fleet(tmp_path, *options, "--max-running", "4") as growing:
        readers = sources(growing, 8, 700)
        asyncio.run(while_reading(readers, lambda: growing.wait_for("^replicas 2 serve")))
        require_whole(readers)
        assert [each.connections for each in readers] == [1] * 8


def test_everything_ends_with_the_command_and_every_text_is_recorded(tmp_path: Path) -> None:
    with fleet(tmp_path, "--backend", "tests.echoes:Slow", "--drain", "1") as ending:
        readers = sources(ending, 4, 4000)
        started = ending.rest()
        scratch = ending.scratch

        async def leave() -> int:
            reading = asyncio.create_task(read_all(readers))
            await until(lambda: all(each.next > 5 for each in readers))
            code = await asyncio.to_thread(ending.stop)
            reading.cancel()
            return code

        assert asyncio.run(leave()) == 0
        assert started
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
        assert not scratch.exists()
        found = ending.records()
        assert sorted(record.finish_reason for record in found) == ["interrupted"] * 4
        assert all(record.response for record in found)
        ending.verify()


def test_every_chain_verifies_and_nothing_is_left_open(echoes: Fleet) -> None:
    """The last one of this file: it ends the fleet of the others."""
    told = {record.id for record in echoes.records()}
    assert echoes.stop() == 0
    echoes.verify()
    assert told <= {record.id for record in echoes.records()}
    assert not [path for path in (echoes.folder / "logs").glob("journal*") if path.stat().st_size]
