"""HTTP/1.1 by h11, with what RFC 9112 asks of a server besides."""

from __future__ import annotations

import re
from typing import Any

import h11

#: Chunks that a request's body may come in: each costs the loop more than a thousand bytes do.
MOST_CHUNKS = 1024

_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(rb"[^@\s]+")


class Connection(h11.Connection):
    """The server's side of a connection.

    It skips empty lines before a request (section 2.2; some clients send one after a body), and
    takes the absolute form of a target, which proxies send (3.2.2). A body in more than MOST_CHUNKS
    chunks is refused.
    """

    def __init__(self, largest_head: int) -> None:
        super().__init__(h11.SERVER, largest_head)
        self.chunks = 0  # of the request that is arriving

    def next_event(self) -> Any:
        """As h11 has it. Raises RemoteProtocolError."""
        if self.their_state is h11.IDLE:
            came, _ = self.trailing_data
            if (empty := _EMPTY_LINES.match(came)) and empty.end():
                self._receive_buffer.maybe_extract_at_most(empty.end())
                came = came[empty.end() :]
            if came == b"\r":
                return h11.NEED_DATA  # half an empty line, of which h11 thinks the worst
        event = super().next_event()
        if isinstance(event, h11.Request):
            self.chunks = 0
            return event if event.target.startswith(b"/") else _in_origin_form(event)
        if isinstance(event, h11.Data):
            self.chunks += event.chunk_start
            if self.chunks > MOST_CHUNKS:
                raise h11.RemoteProtocolError("the body comes in too many chunks")
        return event


def _in_origin_form(request: h11.Request) -> h11.Request:
    """The same request with a target that is a path; an absolute one also says the host."""
    target = request.target
    if target == b"*" or request.method == b"CONNECT":
        return request
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _AUTHORITY.fullmatch(absolute[1]):
        raise h11.RemoteProtocolError("a target is a path, or begins with http://")
    path = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    headers = [(name, value) for name, value in request.headers if name != b"host"]
    return h11.Request(
        method=request.method,
        target=path,
        headers=[(b"Host", absolute[1]), *headers],
        http_version=request.http_version,
    )
