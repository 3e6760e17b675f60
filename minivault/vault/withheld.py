"""What is kept instead of the text when texts are not to be stored: lengths and keyed hashes."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.vault.record import clean

# A hash without a key would tell a short prompt to anybody who tries them all.
TEXTS = ("prompt", "response", "messages", "logprobs", "private")


class Tally:
    """Counts a text that comes in pieces, and hashes it under the vault's secret."""

    def __init__(self, key: bytes, salt: str, name: str) -> None:
        self._mac = hmac.new(key, f"{salt}.{name}.".encode(), "sha256")
        self._characters = 0

    def add(self, text: str) -> Tally:
        self._mac.update(clean(text).encode())
        self._characters += len(text)
        return self

    def fields(self) -> dict[str, Any]:
        return {"characters": self._characters, "hmac": self._mac.copy().hexdigest()}


@dataclass(frozen=True, slots=True)
class Withholder:
    """Takes the text out of a record's fields."""

    key: bytes

    def tally(self, salt: str, name: str, text: str = "") -> Tally:
        return Tally(self.key, salt, name).add(text)

    def withhold(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields without prompt, response, messages, log probabilities and what is private.

        Prompt and response become null, and "withheld" says how long they were.
        """
        salt = fields["salt"]
        kept = {name: value for name, value in fields.items() if name not in TEXTS}
        withheld = dict(fields.get("withheld", {}))
        for name in ("prompt", "response"):
            if name in fields:
                kept[name] = None
                if fields[name] is not None:
                    withheld[name] = self.tally(salt, name, fields[name]).fields()
        return kept | {"withheld": withheld}
