"""The log viewer's page, and the log as JSON: records, history, verification, replay, download."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.templating import Jinja2Templates

from minivault.errors import ChainBroken, NotFound
from minivault.generations import Visitor
from minivault.schemas import Client, FinishReason
from minivault.vault.reader import Reader
from minivault.vault.record import Record, utc
from minivault.vault.replay import Replay
from minivault.vault.search import Query, search
from minivault.vault.signing import BadCheckpoint
from minivault.vault.verify import verify
from minivault.web import answers, icons, progress
from minivault.web.answers import Verification
from minivault.web.carried import service_of
from minivault.web.connection import while_connected
from minivault.web.log_download import chunks, sent
from minivault.web.log_history import history
from minivault.web.log_query import SEQ, RecordQuery, read_query, seq_of, summary
from minivault.web.operations import HTML, JSON, LINES, Operation
from minivault.web.progress import Progress
from minivault.web.reading import Reading, ReadingRoom, Turn

LOOKED_AT_ONCE = 20_000  # lines that one request searches; a page that comes back short goes on


async def list_records(request: Request) -> Response:
    """GET /logs/records: a page of records, newest first. `before` goes on; null at the end."""
    asked = read_query(request, RecordQuery)
    look = partial(_page, reader_of(request), asked)
    return await _answer(request, look, key=("records", asked))


async def show_record(request: Request) -> Response:
    """GET /logs/records/{seq}: the line as it stands, its hash, and its fields."""
    reader, seq = reader_of(request), seq_of(request)

    def look(turn: Turn) -> dict[str, Any]:
        line, record = _line(reader, seq, turn)
        fields = dict(record.fields)
        return {"seq": record.seq, "hash": record.hash, "line": _text(line), "record": fields}

    return await _answer(request, look)


async def show_history(request: Request) -> Response:
    """GET /logs/history: requests, tokens and endings over time, and the last verification."""
    look = partial(history, reader_of(request))
    found = await while_connected(request.receive, room_of(request).read(look, key="history"))
    verified = getattr(request.app.state, "verified", None)
    return answers.as_json(found.model_copy(update={"verified": verified}))


async def verify_chain(request: Request) -> Response:
    """GET /logs/verify: whether nothing was changed and nothing is missing, else what is wrong.

    Who asks while it is being found out already shares the answer.
    """
    reading = room_of(request).begin(partial(_verified, reader_of(request)), key="verify")
    return await progress.answer(request, _kept(request, reading), reading.turn)


async def replay_record(request: Request) -> Response:
    """POST /logs/records/{seq}/replay: makes the text again and compares it with the record."""
    service = service_of(request)
    look = partial(_line, reader_of(request), seq_of(request))
    _, record = await while_connected(request.receive, room_of(request).read(look))
    told = Progress(total=record.usage.get("completion_tokens") or 0)
    service.registry.open_backend()  # raises where a status can still say so
    visitor = Visitor(Client.JSON, request.scope["state"]["audit"])
    made = service.generations.replay(record, visitor, partial(setattr, told, "done"))
    return await progress.answer(request, _replayed(record, made), told)


async def download(request: Request) -> Response:
    """GET /logs/download: the lines as they stand, oldest first; the list's filters hold."""
    query = read_query(request, RecordQuery).filter()
    lines = sent(room_of(request), chunks(reader_of(request), query))
    headers = {"Content-Disposition": 'attachment; filename="log.jsonl"'}
    return StreamingResponse(lines, media_type=progress.MEDIA_TYPE, headers=headers)


def log_routes(templates: Jinja2Templates) -> list[Operation]:
    """`GET /logs` and everything below it."""
    choices = {"reasons": list(FinishReason), "clients": list(Client)}

    async def page(request: Request) -> Response:
        context = {"here": "logs", "icons": icons.LOGS, **choices}
        return templates.TemplateResponse(request, "logs.html", context)

    viewer = Operation("GET", "/logs", page, "logs", "pages", "The log viewer", {200: {HTML: None}})
    return [viewer, *_routes]


async def _kept(request: Request, reading: Reading[Verification]) -> Verification:
    request.app.state.verified = result = await reading.result()
    return result


def _verified(reader: Reader, turn: Turn) -> Verification:
    """Blocks. The answer holds for the moment at which it begins to read."""
    at = utc(datetime.now(UTC), "seconds")
    turn.total = sum(each.size for each in reader.segments())
    try:
        return Verification(ok=True, at=at, **asdict(verify(reader.folder, progress=turn)))
    except ChainBroken as error:
        # The record that stands where the chain breaks, if that is at one line.
        firsts = [each.first for each in reader.segments() if each.name == error.file]
        seq = firsts[0] + error.line - 1 if firsts and firsts[0] and error.line else None
        at_line = {"file": error.file, "line": error.line, "seq": seq}
        return Verification(ok=False, at=at, reason=error.reason, **at_line)
    except BadCheckpoint as error:
        return Verification(ok=False, at=at, reason=str(error))


async def _replayed(record: Record, made: Coroutine[Any, Any, Replay]) -> answers.ReplayAnswer:
    verdict = await made
    recorded = record.response or ""
    return answers.ReplayAnswer(**asdict(verdict), summary=str(verdict), recorded=recorded)


async def _answer(
    request: Request, what: Callable[[Turn], dict[str, Any]], *, key: Hashable = None
) -> Response:
    """What was read, as JSON; it is written in the reading thread, since it may be long."""

    def written(turn: Turn) -> bytes:
        return json.dumps(what(turn), separators=(",", ":")).encode()

    content = await while_connected(request.receive, room_of(request).read(written, key=key))
    return Response(content, media_type="application/json")


def _page(reader: Reader, asked: RecordQuery, turn: Turn) -> dict[str, Any]:
    reader, query = reader.skipping(), asked.filter() or Query()
    page = search(
        reader,
        query,
        before=asked.before,
        limit=asked.limit,
        at_most=LOOKED_AT_ONCE,
        progress=turn,
    )
    firsts = [segment.first for segment in reader.segments() if segment.first]
    first, last = (min(firsts), reader.last_seq()) if firsts else (0, 0)
    before = page.before if page.before is not None and page.before > first else None
    records = [summary(record) for record in page.records]
    found = {"records": records, "before": before, "first": first, "last": last}
    return found | {"unreadable": sorted(reader.unreadable)}


def _text(line: bytes) -> str:
    return line.decode("ascii", "backslashreplace")  # what stands there may not be ours


def _line(reader: Reader, seq: int, turn: Turn) -> tuple[bytes, Record]:
    turn()
    line = next(reader.lines_backwards(seq + 1), None)
    record = Record.parse(line) if line else None
    if line is None or record is None or record.seq != seq:
        raise NotFound(f"there is no record {seq}")
    return line, record


def room_of(request: Request) -> ReadingRoom:
    room = request.app.state.reading_room
    assert isinstance(room, ReadingRoom)
    return room


def reader_of(request: Request) -> Reader:
    return service_of(request).vault.reader


def newest_of(request: Request) -> int:
    """The newest record's number."""
    return service_of(request).vault.statistics()["seq"]


_routes = [
    Operation(
        "GET",
        "/logs/records",
        list_records,
        "listRecords",
        "log",
        "Records, newest first",
        {200: {JSON: answers.RecordPage}},
        query=RecordQuery,
    ),
    Operation(
        "GET",
        "/logs/records/{seq}",
        show_record,
        "showRecord",
        "log",
        "One record",
        {200: {JSON: answers.RecordDetail}},
        (404,),
        parameters=(SEQ,),
    ),
    Operation(
        "POST",
        "/logs/records/{seq}/replay",
        replay_record,
        "replayRecord",
        "log",
        "Make a record's text again and compare",
        {200: {JSON: answers.ReplayAnswer, LINES: None}},
        (404, 503),
        parameters=(SEQ,),
    ),
    Operation(
        "GET",
        "/logs/verify",
        verify_chain,
        "verifyLog",
        "log",
        "Whether nothing was changed and nothing is missing",
        {200: {JSON: answers.Verification, LINES: None}},
    ),
    Operation(
        "GET",
        "/logs/history",
        show_history,
        "showHistory",
        "log",
        "Requests and tokens over time",
        {200: {JSON: answers.History}},
    ),
    Operation(
        "GET",
        "/logs/download",
        download,
        "downloadLog",
        "log",
        "The lines as they stand, oldest first",
        {200: {LINES: None}},
        query=RecordQuery,
    ),
]
