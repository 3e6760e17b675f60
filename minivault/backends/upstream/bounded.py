"""What upstream servers answer, held in bounds of length: a line or a body may never end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from minivault.errors import Lost


class Spoilt(Lost):
    """One text came to nothing after its server had begun it: the server itself may be well."""


LONGEST_BODY = 8 << 20  # bytes; the ids of a million tokens
LONGEST_LINE = 8 << 20
LONGEST_REFUSAL = 1 << 16


async def lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """The lines of a stream. Raises Spoilt for one that does not end."""
    held = bytearray()
    async for chunk in chunks:
        for part in chunk.splitlines(keepends=True):
            held += part
            if len(held) > LONGEST_LINE:
                raise Spoilt(f"an upstream server sent a line of more than {LONGEST_LINE} bytes")
            if part.endswith((b"\n", b"\r")):
                yield held.decode("utf-8", "replace").rstrip("\r\n")
                held.clear()
    if held:
        yield held.decode("utf-8", "replace")


async def body(chunks: AsyncIterator[bytes], most: int) -> bytes:
    """A whole body. Raises ValueError for one of more than `most` bytes."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) > most:
            raise ValueError(f"more than {most} bytes")
    return bytes(held)
