"""The journals of processes that are gone: what they had begun and not finished."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from minivault.vault.journal import PREFIX
from minivault.vault.private_file import Folder, try_lock

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SALT = re.compile(r"[0-9a-f]{32}")


@dataclass(eq=False, slots=True)
class Orphan:
    """The journal of a process that is gone: its files, and what it had not finished."""

    names: list[str] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    unfinished: dict[str, dict[str, Any]] = field(default_factory=dict)
    damaged: int = 0  # lines that nobody can read, though something came after them

    @property
    def after(self) -> int:
        """The log's head before any of its records could have come."""
        return min((fields["after"] for fields in self.unfinished.values()), default=0)

    def read(self) -> None:
        for descriptor in self.descriptors:
            with open(descriptor, "rb", closefd=False) as file:
                is_bad = False
                for line in file:
                    self.damaged += is_bad
                    is_bad = not self._understood(line)  # the last one may be torn

    def _understood(self, line: bytes) -> bool:
        """What a redaction blanked, and what a torn write was filled up with, is nothing."""
        if not line.strip(b" \n\0"):
            return True
        try:
            self._apply(json.loads(line))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return False
        return True

    def _apply(self, step: Mapping[str, Any]) -> None:
        match step:
            case {"begin": fields}:
                _require_sound(fields)
                # Its record as long as nothing else is known. Its events are `start` and an end
                # that nobody was told: a reader that has every piece still lacks that one, so
                # the text goes on for it.
                unknown = {"prompt_tokens": None, "completion_tokens": None}
                self.unfinished[fields["salt"]] = {
                    **fields,
                    "response": None if "withheld" in fields else "",
                    "finish_reason": "interrupted",
                    "usage": unknown,
                    "timings": {},
                    "events": 2,
                }
            case {"of": str(salt)} if salt not in self.unfinished:
                pass  # its record is in the log
            case {"of": salt, "text": str(text)}:
                self.unfinished[salt]["response"] += text
                self.unfinished[salt]["events"] += 1
            case {"of": salt, "tally": dict(tally)}:
                self.unfinished[salt]["withheld"]["response"] = tally
                self.unfinished[salt]["events"] += 1
            case {"end": fields}:
                _require_sound(fields)
                after = self.unfinished.get(fields["salt"], {"after": 0})["after"]
                self.unfinished[fields["salt"]] = {**fields, "after": after}
            case {"void": salt}:
                self.unfinished.pop(salt, None)
            case _:
                raise ValueError("no line of a journal")

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


def orphans(folder: Folder) -> Iterator[Orphan]:
    """The journals of processes that are gone, each locked and read (call with the log locked)."""
    owners: dict[str, list[str]] = {}
    for name in folder.names():
        if name.startswith(PREFIX):
            owners.setdefault(name.split(".", 1)[0], []).append(name)
    for names in owners.values():
        orphan = _adopt(folder, names)
        if orphan:
            orphan.read()
            yield orphan


def _adopt(folder: Folder, names: list[str]) -> Orphan | None:
    orphan = Orphan()
    for name in names:
        try:
            descriptor = folder.open(name, os.O_RDWR)
        except FileNotFoundError:  # its owner lives, and just removed it
            continue
        orphan.names.append(name)
        orphan.descriptors.append(descriptor)
        if not try_lock(descriptor):
            orphan.close()
            return None
    return orphan


def _require_sound(fields: Mapping[str, Any]) -> None:
    """Raises ValueError for what would not be a record."""
    texts = (fields.get("prompt"), fields.get("response"))
    is_text = all(each is None or isinstance(each, str) for each in texts)
    if not is_text or not _TIMESTAMP.fullmatch(fields["timestamp"]):
        raise ValueError("no time or no text")
    if not _SALT.fullmatch(fields["salt"]) or not isinstance(fields["id"], str):
        raise ValueError("no name")
