"""The log as one download: read piece by piece, as fast as the client takes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from minivault.errors import ChainBroken
from minivault.vault.reader import Reader
from minivault.vault.search import Query
from minivault.web.reading import ReadingRoom

CHUNK = 2**16  # bytes sent at once
LOOKED_THROUGH = 2**20  # bytes that one read looks through


async def sent(room: ReadingRoom, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each chunk is a read of its own: a slow client keeps no thread."""
    while (chunk := await room.read(lambda turn: next(chunks, None))) is not None:
        if chunk:
            yield chunk


def chunks(reader: Reader, query: Query | None) -> Iterator[bytes]:
    """About as much as is sent at once; an empty one where nothing was found in so many lines.

    Raises ChainBroken at the end, all else having been sent, if something could not be read.
    """
    broken: list[ChainBroken] = []
    reader = Reader(reader.folder, broken.append)
    chunk, looked = bytearray(), 0
    for line in reader.forwards():
        record = reader.record(line) if query and query.may_match(line) else None
        if query is None or (record and query.matches(record)):
            chunk += line + b"\n"
        looked += len(line)
        if len(chunk) >= CHUNK or looked >= LOOKED_THROUGH:
            yield bytes(chunk)
            chunk.clear()
            looked = 0
    yield bytes(chunk)
    if broken:
        raise broken[0]  # the answer ends without its end, and is not taken for the whole log
