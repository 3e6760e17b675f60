"""Whoever comes back finds the replica that makes the text, by its id or by its name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cluster.event_source import EventSource, read_all, until
from tests.cluster.fleets import Fleet, echo_text
from tests.faults.crowd import Answer, request, talk

pytestmark = pytest.mark.cluster

PROMPT = "the keeper lit the lamp and looked out over the bay"
LONG = 2000  # tokens: forty seconds

#: Requests of each kind. Sent in turn to two replicas, half of them would miss theirs.
SEVERAL = 8


async def ask(fleet: Fleet, target: str, body: Any = None, **more: Any) -> Answer:
    """A POST where there is a body, unless it says otherwise."""
    method = more.pop("method", "GET" if body is None else "POST")
    asked = request(target, method=method, body=body, accept="application/json", **more)
    return await talk(fleet.port, asked)


def test_the_same_idempotency_key_is_the_same_answer(echoes: Fleet) -> None:
    doors: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {
            "messages": [{"role": "user", "content": PROMPT}],
            "max_tokens": 5,
        },
        "/v1/completions": {"prompt": PROMPT, "max_tokens": 5},
        "/v1/responses": {"input": PROMPT, "max_output_tokens": 5},
    }
    for door, body in doors.items():
        for number in range(SEVERAL):
            named = {"headers": {"Idempotency-Key": f"{door} {number}"}}
            first = asyncio.run(ask(echoes, door, body, **named))
            again = asyncio.run(ask(echoes, door, body, **named))
            assert (first.status, first.json["id"]) == (200, again.json["id"])


def test_a_response_is_found_by_its_id_while_it_is_made(echoes: Fleet) -> None:
    body = {"input": PROMPT, "max_output_tokens": LONG, "background": True}

    async def look_and_cancel() -> None:
        for _ in range(SEVERAL):
            made = (await ask(echoes, "/v1/responses", body)).json
            now = await ask(echoes, f"/v1/responses/{made['id']}")
            assert (now.status, now.json["status"]) == (200, "in_progress")
            over = await ask(echoes, f"/v1/responses/{made['id']}/cancel", {})
            assert (over.status, over.json["status"]) == (200, "cancelled")

    asyncio.run(look_and_cancel())


def test_what_follows_a_response_waits_for_it(echoes: Fleet) -> None:
    body = {"input": PROMPT, "max_output_tokens": 50, "background": True}

    async def follow() -> None:
        for number in range(SEVERAL):
            made = (await ask(echoes, "/v1/responses", body)).json["id"]
            more = {"input": "More.", "max_output_tokens": 3, "previous_response_id": made}
            answer = await ask(echoes, "/v1/responses", more)
            assert answer.status == 200, (number, answer.body)
            assert (await ask(echoes, f"/v1/responses/{made}")).json["status"] == "incomplete"

    asyncio.run(follow())


def test_without_a_key_a_broken_connection_and_a_stop_find_their_text(echoes: Fleet) -> None:
    readers = [
        EventSource(echoes.port, {"prompt": PROMPT, "max_tokens": 100, "seed": seed}, drop_at=20)
        for seed in range(SEVERAL)
    ]
    stopped = [
        EventSource(echoes.port, {"prompt": PROMPT, "max_tokens": LONG, "seed": seed})
        for seed in range(SEVERAL)
    ]

    async def read() -> list[int]:
        reading = asyncio.create_task(read_all([*readers, *stopped]))
        await until(lambda: all(each.next > 5 for each in stopped))
        answers = [await ask(echoes, f"/generate/{each.id}", method="DELETE") for each in stopped]
        await reading
        return [answer.status for answer in answers]

    assert asyncio.run(read()) == [200] * SEVERAL
    assert {each.end for each in stopped} == {"cancelled"}
    assert [each.connections for each in readers] == [2] * SEVERAL
    for each in readers:
        assert each.text == echo_text(PROMPT, each.query["seed"], 100)
    ids = {each.id for each in readers}
    found = [record for record in echoes.records() if record.id in ids]
    assert len(found) == SEVERAL, "a text was made again"


def test_what_has_a_dead_replicas_name_goes_on_elsewhere(echoes: Fleet) -> None:
    """The id still names the one that died."""
    readers = [
        EventSource(echoes.port, {"prompt": PROMPT, "max_tokens": 150, "seed": seed})
        for seed in range(SEVERAL)
    ]

    async def read() -> None:
        reading = asyncio.create_task(read_all(readers))
        await until(lambda: all(each.next > 10 for each in readers))
        await asyncio.to_thread(echoes.kill, 1)
        await reading
        answers = [await ask(echoes, f"/generate/{each.id}") for each in readers]
        assert [answer.status for answer in answers] == [200] * SEVERAL

    asyncio.run(read())
    for each in readers:
        assert each.text == echo_text(PROMPT, each.query["seed"], 150)
