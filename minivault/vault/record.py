"""The record: one line of the log, how it is written and how it is read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from minivault.errors import ChainBroken

GENESIS = "0" * 64  # what the first line names as its predecessor

# Readers that know only the first three fields are served. What redaction removes stands together,
# from the prompt to the salt. The links of the chain come after the last field.
ORDER = (
    "timestamp",
    "prompt",
    "response",
    "messages",
    "logprobs",
    "private",
    "withheld",
    "salt",
    "id",
    "finish_reason",
    "model",
    "engine",
    "params",
    "seed",
    "usage",
    "timings",
    "events",
    "client",
    "door",
    "group",
    "index",
    "ignored",
    "continues",
    "replays",
    "error",
    "moved",
)


@dataclass(frozen=True, slots=True)
class Begin:
    """All that is known when a request is accepted.

    `timestamp` is the time of acceptance, now if absent. `continues` is the generation id that
    this one goes on with, `replays` the sequence number of the record that it makes again. `call`
    are the fields of a request over /v1.
    """

    id: str
    prompt: str
    params: Mapping[str, Any]
    seed: int
    client: str
    model: Mapping[str, Any]
    engine: Mapping[str, Any]
    timestamp: str | None = None
    messages: list[dict[str, Any]] | None = None
    continues: str | None = None
    replays: int | None = None
    call: Mapping[str, Any] | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of the record that are known now."""
        known: dict[str, Any] = {
            "timestamp": self.timestamp or now(),
            "prompt": self.prompt,
            "id": self.id,
            "model": dict(self.model),
            "engine": dict(self.engine),
            "params": dict(self.params),
            "seed": self.seed,
            "client": str(self.client),
        }
        optional = {
            "messages": self.messages,
            "continues": self.continues,
            "replays": self.replays,
            **(self.call or {}),
        }
        return known | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a generation ended. `events` counts all its events, the last one included; `engine`
    stands in place of the begin's where something is to be said of this text alone."""

    response: str
    finish_reason: str
    usage: Mapping[str, Any]
    timings: Mapping[str, Any]
    events: int
    error: Mapping[str, Any] | None = None
    logprobs: list[Any] | None = None
    engine: Mapping[str, Any] | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of the record that the end adds."""
        known: dict[str, Any] = {
            "response": self.response,
            "finish_reason": str(self.finish_reason),
            "usage": dict(self.usage),
            "timings": dict(self.timings),
            "events": self.events,
        }
        optional = {"error": self.error, "logprobs": self.logprobs, "engine": self.engine}
        return known | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log as it was read: its place, its hash, its fields."""

    seq: int
    hash: str
    fields: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, line: bytes) -> Record:
        """Reads a line (without its newline). Raises ChainBroken for what is no record."""
        with contextlib.suppress(ValueError, RecursionError):
            fields = json.loads(line)
            if isinstance(fields, dict) and type(fields.get("seq")) is int:
                return cls(fields["seq"], line_hash(line), fields)
        reason = "a line in it is no record; minivault logs verify names it"
        raise ChainBroken("the log", 0, reason)

    @property
    def timestamp(self) -> str:
        return str(self.fields.get("timestamp", ""))

    @property
    def id(self) -> str | None:
        return self.fields.get("id")

    @property
    def prompt(self) -> str | None:
        """None where the text was redacted or never stored."""
        return self.fields.get("prompt")

    @property
    def response(self) -> str | None:
        """None where the text was redacted or never stored."""
        return self.fields.get("response")

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation that the prompt was made of; empty where it was none."""
        found = self.fields.get("messages")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    @property
    def finish_reason(self) -> str | None:
        return self.fields.get("finish_reason")

    @property
    def model(self) -> Mapping[str, Any]:
        return self._mapping("model")

    @property
    def engine(self) -> Mapping[str, Any]:
        return self._mapping("engine")

    @property
    def params(self) -> Mapping[str, Any]:
        return self._mapping("params")

    @property
    def usage(self) -> Mapping[str, Any]:
        return self._mapping("usage")

    @property
    def seed(self) -> int | None:
        return self.fields.get("seed")

    @property
    def events(self) -> int:
        """How many events the generation had; the number of the last one is one less."""
        events = self.fields.get("events")
        return events if isinstance(events, int) else 0

    def tokens(self, of: str) -> int:
        """A count of its usage: `prompt_tokens`, `completion_tokens`; 0 where it is not known."""
        count = self.usage.get(of)
        return count if isinstance(count, int) else 0

    def _mapping(self, name: str) -> Mapping[str, Any]:
        """Empty for what is none: a line that somebody sent may hold anything."""
        value = self.fields.get(name)
        return value if isinstance(value, dict) else {}

    @property
    def is_redacted(self) -> bool:
        return "redacted" in self.fields

    @property
    def is_redaction(self) -> bool:
        """Whether this line only tells that another one was redacted."""
        return "redacts" in self.fields

    @property
    def is_withheld(self) -> bool:
        """Whether only lengths and keyed hashes of the text were stored."""
        return "withheld" in self.fields

    @property
    def is_whole(self) -> bool:
        """Whether prompt and response are there."""
        return isinstance(self.prompt, str) and isinstance(self.response, str)


def now() -> str:
    """The time as records have it: UTC, milliseconds."""
    return utc(datetime.now(UTC), "milliseconds")


def utc(moment: datetime, timespec: str = "auto") -> str:
    """A moment of UTC in ISO 8601, its zone written as Z; `timespec` as `datetime.isoformat`'s."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def seconds(timestamp: str) -> int:
    """A record's time in seconds since 1970; 0 for what is none."""
    try:
        return int(datetime.fromisoformat(timestamp).timestamp())
    except ValueError:
        return 0


def new_salt() -> str:
    """The random name of a record; it also keeps a redacted text from being guessed by its hash."""
    return secrets.token_hex(16)


def line_hash(line: bytes) -> str:
    """The SHA-256 of a line's bytes without its newline, in hexadecimal."""
    return hashlib.sha256(line).hexdigest()


def dump(fields: Mapping[str, Any]) -> bytes:
    """The one way in which records are written: ASCII JSON, no blanks, on one line.

    Lone surrogates become U+FFFD, and numbers that JSON does not have become null.
    """
    try:
        text = json.dumps(fields, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_cleaned(fields), allow_nan=False, separators=(",", ":"))
    if "\\ud" in text:  # a surrogate pair, or half of one
        text = json.dumps(_cleaned(fields), allow_nan=False, separators=(",", ":"))
    return text.encode("ascii")


def render(fields: Mapping[str, Any]) -> bytes:
    """A record's line as far as it is known before its place in the chain is."""
    return dump({name: fields[name] for name in ORDER if name in fields})[:-1]


def link(seq: int, prev: str, prev_redacted: str | None) -> bytes:
    """How the line at place `seq` ends; inside a JSON string its quotes would be escaped.

    `prev` is the hash of the line before, `prev_redacted` that of what redaction makes of it.
    Version 0.1.0 wrote lines without the second.
    """
    end = b',"seq":%d,"prev":"%s"}' % (seq, prev.encode("ascii"))
    if prev_redacted is None:
        return end
    return b',"prev_redacted":"%s"%s' % (prev_redacted.encode("ascii"), end)


def clean(text: str) -> str:
    """The text with its lone surrogates replaced by U+FFFD; everything else stays as it is."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _cleaned(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
