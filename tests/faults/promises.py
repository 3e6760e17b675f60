"""What clients heard from a server, and what its log must therefore hold."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.vault.reader import Reader
from minivault.vault.record import Record
from tests.event_stream import text_of
from tests.faults.crowd import SSE, Answer


@dataclass(frozen=True)
class Heard:
    """What one client knows: whose text it read, how much of it, and how it ended."""

    id: str  # empty: it was never told that its request is accepted
    text: str = ""
    end: str = ""  # `done`, `failed`, `stopped`; empty: it was cut off
    receipt: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def heard(answer: Answer) -> Heard:
    """The same for all three forms of an answer."""
    if "minivault-id" in answer.headers:
        return _of_plain(answer)
    if answer.status == 200 and answer.headers["content-type"].startswith(SSE):
        return _of_stream(answer)
    return Heard("")


def _of_stream(answer: Answer) -> Heard:
    events = answer.events
    if not events or events[0].name != "start":
        assert not text_of(events), "a token came before the start"
        return Heard("")
    end = events[-1] if events[-1].name in ("done", "failed", "stopped") else None
    data = end.json if end else {}
    return Heard(
        events[0].json["id"],
        text_of(events),
        end.name if end else "",
        data.get("receipt"),
        data.get("error"),
    )


def _of_plain(answer: Answer) -> Heard:
    id = answer.headers["minivault-id"]
    if not answer.headers["content-type"].startswith("application/json"):
        text = answer.body.decode("utf-8", "ignore")  # the last character may be cut in two
        return Heard(id, text, "done" if answer.whole else "")
    if not answer.whole:
        return Heard(id)
    data = json.loads(answer.body)
    error = data.get("error")
    return Heard(id, data["text"], "failed" if error else "done", data["receipt"], error)


def records(folder: Path) -> list[Record]:
    """All records of a log, oldest first."""
    return [Record.parse(line) for line in Reader(folder).forwards()]


def require_kept(found: list[Record], told: Iterable[Heard]) -> None:
    """Fails unless each generation that somebody was told of has its one record, and a true one."""
    by_id = {record.id: record for record in found}
    assert len(by_id) == len(found), "a record is there twice"
    for each in told:
        if each.id:
            assert each.id in by_id, "an accepted request has no record"
            _require_true(by_id[each.id], each)


def _require_true(record: Record, each: Heard) -> None:
    response = record.response or ""
    assert response.startswith(each.text), "what was said is lost"
    if each.receipt:
        assert each.receipt == {"seq": record.seq, "hash": record.hash}
    if each.end == "done":
        assert record.finish_reason in ("stop", "length"), "the end that was told is lost"
        assert response == each.text
