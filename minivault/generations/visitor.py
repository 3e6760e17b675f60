"""Who asks for a text, and how; read once, at the door."""

from __future__ import annotations

from dataclasses import dataclass

from minivault.generations.audit import Audit
from minivault.schemas import Client
from minivault.text_request import Call


@dataclass(frozen=True, slots=True)
class Visitor:
    """One that starts a generation, comes back to it, or stops it.

    `caller` is a name for the key it came with: keys of requests and turns are per caller.
    `lives_on` says that what it follows goes on for a while without a listener. `call` tells of a
    request over /v1.
    """

    client: Client
    audit: Audit
    caller: str = ""
    lives_on: bool = False
    call: Call | None = None
