"""A stand-in for the Hugging Face hub on loopback: its routes, redirects and faults."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

SMALL = 4096  # larger files are in LFS, and come from another host


@dataclass
class Faults:
    """What goes wrong; lists are used up, one entry a request."""

    status: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    stall_after: dict[str, int] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)
    append: dict[str, bytes] = field(default_factory=dict)
    answer_after: float = 0.0
    ignore_range: bool = False
    body: bytes | None = None


@dataclass
class Repository:
    """The files of one repository at one commit."""

    files: dict[str, bytes]
    commit: str


@dataclass(frozen=True)
class Seen:
    """One request that came."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def file(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class Hub:
    """A hub with the repositories that a test adds. Used as a context manager.

    It is reached as 127.0.0.1; large files are redirected to `localhost`, another origin.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.sent: dict[str, int] = defaultdict(int)
        self.closing = threading.Event()
        self.stalling = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def cdn(self) -> str:
        return f"http://localhost:{self._server.server_port}"

    def add(self, name: str, files: dict[str, bytes]) -> str:
        """Put a repository there, or its next version; its commit."""
        text = "".join(f"{path}{_sha256(data)}" for path, data in sorted(files.items()))
        commit = hashlib.sha1(text.encode()).hexdigest()
        self.repositories[name] = Repository(dict(files), commit)
        return commit

    def asked_for(self) -> list[str]:
        """The names of the files that were asked for, in order."""
        return [seen.file for seen in self.seen if "/resolve/" in seen.path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def blob_id(data: bytes) -> str:
    """Git's id of a file's bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs_pointer(data: bytes) -> bytes:
    """What git keeps in place of a file in LFS."""
    version = "version https://git-lfs.github.com/spec/v1"
    return f"{version}\noid sha256:{_sha256(data)}\nsize {len(data)}\n".encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sibling(name: str, data: bytes) -> dict[str, object]:
    if len(data) <= SMALL:
        return {"rfilename": name, "size": len(data), "blobId": blob_id(data)}
    pointer = lfs_pointer(data)
    lfs = {"sha256": _sha256(data), "size": len(data), "pointerSize": len(pointer)}
    return {"rfilename": name, "size": len(data), "blobId": blob_id(pointer), "lfs": lfs}


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    return Handler


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionResetError):  # clients that gave up
            super().handle()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.hub.seen.append(Seen(self.command, self.path, headers))
        path = unquote(urlsplit(self.path).path)
        try:
            if not self._refused(path):
                self._route(path)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _refused(self, path: str) -> bool:
        for part, answers in self.hub.faults.status.items():
            if part in path and answers:
                status, headers = answers.pop(0)
                self._answer(status, b"", headers)
                return True
        return False

    def _route(self, path: str) -> None:
        if path.startswith("/api/models/"):
            self._info(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            self._resolve(path.removeprefix("/"))
        elif path.startswith("/cdn/"):
            self._file(path.removeprefix("/cdn/"))
        else:
            self._answer(404, b"")

    def _info(self, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        if name in self.hub.renamed:
            location = f"/api/models/{self.hub.renamed[name]}" + (
                revision and f"/revision/{revision}"
            )
            query = urlsplit(self.path).query
            return self._answer(307, b"", {"Location": f"{location}?{query}"})
        time.sleep(self.hub.faults.answer_after)
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self._answer(401, b"", {"X-Error-Message": "Invalid username or password."})
        if revision not in ("", "main", repository.commit):
            return self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
        blobs = "blobs" in parse_qs(urlsplit(self.path).query)
        files = [
            _sibling(path, data) if blobs else {"rfilename": path}
            for path, data in repository.files.items()
        ]
        info = {"id": name, "modelId": name, "sha": repository.commit, "siblings": files}
        body = json.dumps({**info, "private": False, "tags": [], "downloads": 1}).encode()
        return self._answer(200, self.hub.faults.body or body, {"Content-Type": "application/json"})

    def _resolve(self, path: str) -> None:
        name, _, rest = path.partition("/resolve/")
        commit, _, file = rest.partition("/")
        repository = self.hub.repositories.get(self.hub.renamed.get(name, name))
        if repository is None or commit != repository.commit or file not in repository.files:
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        data = repository.files[file]
        if len(data) <= SMALL:
            return self._file(f"{name}/{file}")
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(data)),
            "X-Linked-Etag": f'"{_sha256(data)}"',
            "Location": f"{self.hub.cdn}/cdn/{name}/{file}",
        }
        return self._answer(302, b"", headers)

    def _file(self, path: str) -> None:
        """The bytes of a file from the offset that is asked for, with whatever goes wrong."""
        name, file = path.rsplit("/", 1)
        faults = self.hub.faults
        data = self.hub.repositories[self.hub.renamed.get(name, name)].files[file]
        if file in faults.corrupt:
            data = bytes(byte ^ 1 for byte in data)
        data += faults.append.get(file, b"")
        if "gzip" in self.headers.get("Accept-Encoding", "") and len(data) <= SMALL:
            return self._answer(200, gzip.compress(data), {"Content-Encoding": "gzip"})
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
        start = 0 if faults.ignore_range else int(asked)
        headers = {"ETag": f'"{blob_id(data)}"', "Accept-Ranges": "bytes"}
        if "Range" in self.headers and not faults.ignore_range:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self._answer(206, data[start:], headers, file=file)
        return self._answer(200, data, headers, file=file)

    def _answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, file: str = ""
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self._send(body, file)

    def _send(self, body: bytes, file: str) -> None:
        faults = self.hub.faults
        cuts = faults.cut_after.get(file, [])
        cut = cuts.pop(0) if cuts else None
        stop = cut if cut is not None else faults.stall_after.get(file)
        self.hub.sent[file] += len(body[:stop])
        self.wfile.write(body[:stop])
        if stop is not None:
            self.wfile.flush()
            if cut is None:
                self.hub.stalling.set()
                self.hub.closing.wait(30)
            self.close_connection = True
