"""The log viewer's page, and the log as JSON: records, history, verification, replay, download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.templating import Jinja2Templates

from minivault.background import in_thread
from minivault.errors import ChainBroken, NotFound
from minivault.generations.narrator import QueuedNarrator
from minivault.schemas import Client, FinishReason
from minivault.service import Service
from minivault.vault.checkpoint import BadCheckpoint
from minivault.vault.reader import Reader
from minivault.vault.record import Record
from minivault.vault.replay import Replay, Verdict, replay
from minivault.vault.search import Query, search
from minivault.vault.verify import verify
from minivault.web import icons, progress
from minivault.web.log_history import history
from minivault.web.log_query import read_query, summary
from minivault.web.pages import page_modules
from minivault.web.progress import Progress

LOOKED_AT_ONCE = 20_000  # lines that one request searches; a page that comes back short goes on
CHUNK = 2**16  # bytes of a download sent at once


async def list_records(request: Request) -> Response:
    """GET /logs/records: a page of records, newest first. `before` goes on; null at the end."""
    asked = read_query(request)
    reader = _reader(request)
    look = partial(search, before=asked.before, limit=asked.limit, at_most=LOOKED_AT_ONCE)
    page = await in_thread(look, reader, asked.filter() or Query())
    first, last = await in_thread(_ends, reader)
    records = [summary(record) for record in page.records]
    before = page.before if page.before is not None and page.before > first else None
    return JSONResponse({"records": records, "before": before, "first": first, "last": last})


async def show_record(request: Request) -> Response:
    """GET /logs/records/{seq}: the line as it stands, its hash, and its fields."""
    line, record = await in_thread(_line, _reader(request), _seq(request))
    fields = dict(record.fields)
    text = line.decode("ascii")
    return JSONResponse({"seq": record.seq, "hash": record.hash, "line": text, "record": fields})


async def show_history(request: Request) -> Response:
    """GET /logs/history: requests, tokens and endings over time, and the last verification."""
    found = await in_thread(history, _reader(request))
    return JSONResponse({**found, "verified": getattr(request.app.state, "verified", None)})


async def verify_chain(request: Request) -> Response:
    """GET /logs/verify: whether nothing was changed and nothing is missing, else what is wrong."""
    segments = _reader(request).segments()
    told = Progress(total=sum(each.path.stat().st_size for each in segments))
    return await progress.answer(request, _verified(request, told), told)


async def replay_record(request: Request) -> Response:
    """POST /logs/records/{seq}/replay: makes the text again and compares it with the record."""
    service = _service(request)
    _, record = await in_thread(_line, _reader(request), _seq(request))
    told = Progress(total=record.usage.get("completion_tokens") or 0)
    audit = request.scope["state"]["audit"]
    narrator = QueuedNarrator(service.registry, audit, partial(setattr, told, "done"))
    return await progress.answer(request, _replayed(record, narrator), told)


async def download(request: Request) -> Response:
    """GET /logs/download: the lines as they stand, oldest first; the list's filters hold."""
    chunks = _chunks(_reader(request), read_query(request).filter())
    headers = {"Content-Disposition": 'attachment; filename="log.jsonl"'}
    return StreamingResponse(chunks, media_type=progress.MEDIA_TYPE, headers=headers)


def log_routes(templates: Jinja2Templates) -> list[Route]:
    """`GET /logs` and everything below it."""
    modules = page_modules("logs")
    choices = {"reasons": list(FinishReason), "clients": list(Client)}

    async def page(request: Request) -> Response:
        context = {"here": "logs", "modules": modules, "icons": icons.LOGS, **choices}
        return templates.TemplateResponse(request, "logs.html", context)

    return [
        Route("/logs", page, methods=["GET"], name="logs"),
        Route("/logs/records", list_records, methods=["GET"]),
        Route("/logs/records/{seq}", show_record, methods=["GET"]),
        Route("/logs/records/{seq}/replay", replay_record, methods=["POST"]),
        Route("/logs/history", show_history, methods=["GET"]),
        Route("/logs/verify", verify_chain, methods=["GET"]),
        Route("/logs/download", download, methods=["GET"]),
    ]


async def _verified(request: Request, told: Progress) -> dict[str, Any]:
    folder = _reader(request).folder
    result: dict[str, Any]
    try:
        found = await in_thread(verify, folder, progress=told.advance)
        result = {"ok": True, **asdict(found)}
    except ChainBroken as error:
        result = {"ok": False, "file": error.file, "line": error.line, "reason": error.reason}
        result["seq"] = await in_thread(_seq_of, _reader(request), error)
    except BadCheckpoint as error:
        result = {"ok": False, "reason": str(error)}
    result["at"] = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    request.app.state.verified = result
    return result


def _seq_of(reader: Reader, error: ChainBroken) -> int | None:
    """The record that stands where the chain breaks, if that is at one line."""
    firsts = (each.first for each in reader.segments() if each.name == error.file and each.first)
    first = next(firsts, None)
    return first + error.line - 1 if first and error.line else None


async def _replayed(record: Record, narrator: QueuedNarrator) -> dict[str, Any]:
    made_by, serving = record.model, narrator.origin.model
    if made_by and made_by.get("sha256") != serving["sha256"]:
        why = f"{made_by.get('name')} made it, and {serving['name']} serves here"
        verdict = Replay(record.seq, Verdict.NOT_REPRODUCIBLE, why=why)
    else:
        verdict = await replay(record, narrator)
    recorded = record.response or ""
    is_cut = record.finish_reason in (FinishReason.DISCONNECTED, FinishReason.INTERRUPTED)
    text = narrator.told[: len(recorded)] if is_cut else narrator.told
    return {**asdict(verdict), "summary": str(verdict), "recorded": recorded, "text": text}


def _line(reader: Reader, seq: int) -> tuple[bytes, Record]:
    line = next(reader.lines_backwards(seq + 1), None)
    record = Record.parse(line) if line else None
    if line is None or record is None or record.seq != seq:
        raise NotFound(f"there is no record {seq}")
    return line, record


def _ends(reader: Reader) -> tuple[int, int]:
    """The first and the last sequence number; both 0 if there is no record."""
    firsts = [segment.first for segment in reader.segments() if segment.first]
    return (min(firsts), reader.last_seq()) if firsts else (0, 0)


def _chunks(reader: Reader, query: Query | None) -> Iterator[bytes]:
    chunk = bytearray()
    for line in reader.forwards():
        if query is None or (query.may_match(line) and query.matches(Record.parse(line))):
            chunk += line + b"\n"
        if len(chunk) >= CHUNK:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _seq(request: Request) -> int:
    """The sequence number in the path. Raises NotFound for what is none."""
    text: str = request.path_params["seq"]
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise NotFound("a record's number has only digits")
    return int(text)


def _reader(request: Request) -> Reader:
    return _service(request).vault.reader


def _service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
