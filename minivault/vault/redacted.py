"""What redaction makes of a line: the one form that a redacted line can have.

All that tells the text gives way to the hash that the line had. The next line of the chain names
the hash of this form (`prev_redacted`), so that after a redaction every other field is still
proven, and nothing else can stand in the line's place.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from minivault.vault.record import dump, line_hash

REMOVED = ("prompt", "response", "messages", "logprobs", "private", "withheld", "salt")

_START = len('{"timestamp":"2026-11-23T10:23:45.123Z"')
_SALT = b',"salt":"'
_SALT_LENGTH = len(_SALT) + 33
_REDACTED = re.compile(rb'\{"timestamp":"[^"\\]{0,64}","redacted":\{"was":"([0-9a-f]{64})"\}')


@dataclass(frozen=True, slots=True)
class Redaction:
    """What a redaction changed: the hash of the line before and after."""

    was: str
    now: str

    def statement(self, seq: int) -> bytes:
        """What is signed where a key is configured."""
        return f"minivault redaction\n{seq}\n{self.was}\n{self.now}\n".encode(
            errors="backslashreplace"
        )


def redacted_form(line: bytes, digest: str) -> bytes:
    """The line without its text; `digest` is its hash. What has no text stays as it is."""
    form = quick_form(line, digest)
    return _parsed_form(line, digest) if form is None else form


def quick_form(line: bytes, digest: str) -> bytes | None:
    """The same, cut out of the bytes; None for a line that version 0.1.0 wrote."""
    salt = line.rfind(_SALT)
    end = salt + _SALT_LENGTH
    if salt > 0 and line.startswith(b',"prompt":', _START) and line.startswith(b',"id":', end):
        return b'%s,"redacted":{"was":"%s"}%s' % (line[:_START], digest.encode(), line[end:])
    return None if salt > 0 else line


def redacted_hash(line: bytes, digest: str) -> str:
    """The hash of the line's redacted form."""
    form = redacted_form(line, digest)
    return digest if form is line else line_hash(form)


def was_of(line: bytes) -> str | None:
    """The hash that a redacted line had before; None for any other line."""
    found = _REDACTED.match(line)
    return found[1].decode() if found else None


def _parsed_form(line: bytes, digest: str) -> bytes:
    """Of lines that version 0.1.0 wrote: their salt stands near the end."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if not isinstance(fields, dict) or "salt" not in fields or "redacted" in fields:
        return line
    kept = {name: value for name, value in fields.items() if name not in REMOVED}
    timestamp = kept.pop("timestamp", "")
    return dump({"timestamp": timestamp, "redacted": {"was": digest}, **kept})
