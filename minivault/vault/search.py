"""What of the log somebody wants to see, and what it sums up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from minivault.errors import ChainBroken
from minivault.vault.reader import Page, Reader
from minivault.vault.record import Record
from minivault.vault.segments import place

_TIME = slice(len('{"timestamp":"'), len('{"timestamp":"2026-11-23T10:23:45.123Z'))


@dataclass(frozen=True, slots=True)
class Query:
    """Which records; what is None does not matter.

    `text` is looked for in prompt and response, whatever its case. `since` and `until` are
    beginnings of timestamps, as `2026-11-23` or `2026-11-23T10:30`, both included.
    """

    text: str | None = None
    since: str | None = None
    until: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    client: str | None = None

    def may_match(self, line: bytes) -> bool:
        """A quick look at the bytes that leaves most lines unread."""
        if not self._is_in_time(line[_TIME].decode("ascii", "replace")):
            return False
        # What must stand in the line. Text beyond ASCII has cases that bytes do not show.
        asked = (self.text, self.finish_reason, self.model, self.client)
        needles = (json.dumps(each)[1:-1].lower() for each in asked if each and each.isascii())
        return all(each.encode() in line.lower() for each in needles)

    def matches(self, record: Record) -> bool:
        """Whether this is one of them."""
        fields, wanted = record.fields, (self.text or "").casefold()
        texts = [each for each in (record.prompt, record.response) if isinstance(each, str)]
        return (
            self._is_in_time(record.timestamp)
            and self.finish_reason in (None, record.finish_reason)
            and self.model in (None, record.model.get("name"))
            and self.client in (None, fields.get("client"))
            and (self.text is None or any(wanted in each.casefold() for each in texts))
        )

    def _is_in_time(self, timestamp: str) -> bool:
        early = self.since is not None and timestamp < self.since
        late = self.until is not None and timestamp[: len(self.until)] > self.until
        return not early and not late


def search(
    reader: Reader,
    query: Query,
    *,
    before: int | None = None,
    limit: int = 50,
    at_most: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Page:
    """The newest `limit` records that match, older than record `before`.

    Looks at no more than `at_most` records: a page that comes back short with `before` set goes on
    from there. `progress` is told the length of each line. What was found before something damaged
    is returned; raises ChainBroken where that is the first thing.
    """
    found: list[Record] = []
    seq = 0
    try:
        for looked, line in enumerate(reader.lines_backwards(before), 1):
            if progress:
                progress(len(line) + 1)
            record = reader.record(line) if query.may_match(line) else None
            if record and query.matches(record):
                found.append(record)
            seq = place(line)[0] or seq
            if len(found) == limit or looked == at_most:
                return Page(found, seq if seq > 1 else None)
    except ChainBroken as error:
        if not seq:
            raise
        return Page(found, seq, error)
    return Page(found, None)


@dataclass(slots=True)
class Summary:
    """Sums over records. Tokens are those that backends counted."""

    records: int = 0
    redacted: int = 0
    first: str | None = None
    last: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    size: int = 0  # bytes
    finish_reasons: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    days: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record, size: int) -> None:
        """Counts a record; `size` is its line's."""
        self.size += size
        if record.is_redaction:
            return
        self.records += 1
        self.redacted += record.is_redacted
        self.first = min(self.first or record.timestamp, record.timestamp)
        self.last = max(self.last or record.timestamp, record.timestamp)
        self.prompt_tokens += record.tokens("prompt_tokens")
        self.completion_tokens += record.tokens("completion_tokens")
        self.finish_reasons[str(record.finish_reason)] += 1
        self.models[str(record.model.get("name"))] += 1
        self.clients[str(record.fields.get("client"))] += 1
        self.days[record.timestamp[:10]] += 1

    def as_dict(self) -> dict[str, Any]:
        counters = ("finish_reasons", "models", "clients", "days")
        plain = ("records", "redacted", "first", "last", "prompt_tokens", "completion_tokens")
        sums = {name: getattr(self, name) for name in (*plain, "size")}
        return sums | {name: dict(getattr(self, name).most_common()) for name in counters}


def questions(record: Record) -> list[str]:
    """What was asked in a record's conversation, the last one last; empty where it was none."""
    asked = (each for each in record.messages if each.get("role") == "user")
    return [str(each.get("content", "")) for each in asked]


def summarize(reader: Reader, progress: Callable[[int], None] | None = None) -> Summary:
    """Sums up the whole log. `progress` is told the length of each line."""
    summary = Summary()
    for line in reader.forwards():
        if record := reader.record(line):
            summary.add(record, len(line) + 1)
        if progress:
            progress(len(line) + 1)
    return summary
