"""The id of a generation: signed, and enough to make the same text again without any session store.

Base64url of 48 bytes: version (1), nonce (8), seed (7), request (8), engine (8), tag (16).
`request` is a keyed hash of prompt and parameters, so that an id tells nothing about them; the tag
is HMAC-SHA-256 (RFC 2104), cut to 128 bits, over everything before it and the caller's name, which
the id does not hold: in the hands of another caller it is none of ours.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from minivault.backends.base import ModelInfo
from minivault.schemas import GenerateRequest

_VERSION = b"\x01"
_PATTERN = re.compile(r"[A-Za-z0-9_-]{64}")
_EVENT = re.compile(r"([A-Za-z0-9_-]{64})\.(\d{1,9}|gone)")


@dataclass(frozen=True, slots=True)
class IdParts:
    """What a genuine id says."""

    seed: int
    request: bytes
    engine: bytes


@dataclass(frozen=True, slots=True)
class EventId:
    """`<generation>.<n>`; `n` is None for `<generation>.gone`."""

    generation: str
    n: int | None


class GenerationIds:
    """Makes and reads ids under one secret; servers that share it can continue each other's.

    `place`: up to 3 bytes that every id made here has at the end of its nonce, so that a proxy
    before several servers finds the one that made it.
    """

    def __init__(self, secret: bytes) -> None:
        self.place = b""
        self._tag_key = hmac.digest(secret, b"minivault generation id tag", sha256)
        self._request_key = hmac.digest(secret, b"minivault generation id request", sha256)

    def make(self, seed: int, request: bytes, engine: bytes, caller: str = "") -> str:
        nonce = secrets.token_bytes(8 - len(self.place)) + self.place
        body = _VERSION + nonce + seed.to_bytes(7) + request + engine
        return urlsafe_b64encode(body + self._tag(body, caller)).decode("ascii")

    def read(self, id: str, caller: str = "") -> IdParts | None:
        """What the id says; None if it is not one of ours, or not this caller's."""
        if not _PATTERN.fullmatch(id):
            return None
        raw = urlsafe_b64decode(id)
        body, tag = raw[:-16], raw[-16:]
        if body[:1] != _VERSION or not hmac.compare_digest(tag, self._tag(body, caller)):
            return None
        return IdParts(int.from_bytes(body[9:16]), body[16:24], body[24:32])

    def request_hash(self, request: GenerateRequest) -> bytes:
        """A keyed hash of everything that was asked for, the client's key apart."""
        asked = request.model_dump(mode="json", exclude={"key"})
        if not request.end_at_sentence:
            del asked["end_at_sentence"]  # ids are older than this parameter
        return hmac.digest(self._request_key, _canonical(asked), sha256)[:8]

    def _tag(self, body: bytes, caller: str) -> bytes:
        return hmac.digest(self._tag_key, body + caller.encode(), sha256)[:16]


def engine_hash(info: ModelInfo) -> bytes:
    """Changes with whatever the bytes of a text depend on: model, tokenizer, engine, defaults."""
    parts = [info.sha256, info.tokenizer_sha256, info.context_length, dict(info.engine)]
    if info.defaults:  # ids are older than these
        parts.append(dict(info.defaults))
    return sha256(_canonical(parts)).digest()[:8]


def parse_event_id(value: str) -> EventId | None:
    """Reads a Last-Event-ID; None if it has not our form."""
    match = _EVENT.fullmatch(value)
    if not match:
        return None
    return EventId(match[1], None if match[2] == "gone" else int(match[2]))


def _canonical(value: Mapping[str, Any] | list[Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
