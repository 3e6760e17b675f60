"""A client that wants one text to its end, and comes back for it as often as that takes."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import Any

from tests.faults.crowd import Answer, request, talk

AWAY = 11.0  # seconds: longer than a generation without a listener lives
PATIENCE = 240.0  # seconds that one connection may take
ENDS = ("done", "stopped", "failed", "gone")


@dataclass
class Reader:
    """One client that wants one text, over as many connections as that takes."""

    how: str  # listen, leave (for good), away (for a while), stop; text and json do not resume
    chance: random.Random
    ports: list[int]
    direct: int
    query: dict[str, Any]
    id: str = ""
    last: str = ""
    text: str = ""
    next: int = 1
    end: str = ""
    connections: int = 0
    breaches: list[str] = field(default_factory=list)

    async def read(self) -> None:
        if self.how in ("text", "json"):
            await self._read_once()
            return
        limit = self.chance.randrange(1, 30) if self.how != "listen" else 10**9
        with contextlib.suppress(TimeoutError):
            await self._read_to_the_end(limit)
        if not self.end and self.how != "leave":
            self.breaches.append(f"no end after {self.next - 1} pieces")

    async def _read_to_the_end(self, limit: int) -> None:
        while not self.end and self.connections < 100:
            await self._connect(limit)
            if self.next <= limit or self.end:
                await asyncio.sleep(0.05)
            elif self.how == "leave":
                return
            elif self.how == "away":
                await asyncio.sleep(AWAY)
                limit = 10**9
            elif self.how == "stop":
                await talk(self.direct, request(f"/generate/{self.id}", method="DELETE"))
                limit = 10**9

    async def _connect(self, limit: int) -> None:
        self.connections += 1
        wanted = limit - self.next + 1
        answer = await talk(
            self.chance.choice(self.ports),
            request(last=self.last, **self.query),
            vanish=lambda received: received.count(b'data: {"text"') > wanted,
            reset=self.chance.random() < 0.5,
            seconds=PATIENCE,
        )
        self._take(answer)

    def _take(self, answer: Answer) -> None:
        if answer.status in (503, 204):
            self.end = {503: "refused", 204: "nothing"}[answer.status]
        elif answer.status not in (200, 0):
            self.breaches.append(f"status {answer.status}: {answer.body[:200]!r}")
            self.end = "refused"
        for event in answer.events:
            if event.id:
                self.last = event.id
            if event.name == "start":
                self.id = event.json["id"]
            elif event.name == "message":
                self._piece(event.number, event.json["text"])
            elif event.name in ENDS and not event.json.get("resumable"):
                self.end = event.json.get("finish_reason", event.name)

    def _piece(self, number: int, text: str) -> None:
        if number != self.next:
            self.breaches.append(f"event {number} came where {self.next} was due")
        self.next = number + 1
        self.text += text

    async def _read_once(self) -> None:
        accept = {"text": "text/plain", "json": "application/json"}[self.how]
        answer = await talk(
            self.direct, request(accept=accept, method="POST", body=self.query), seconds=PATIENCE
        )
        self.connections += 1
        if answer.status == 503:
            self.end = "refused"
        elif answer.status != 200 or not answer.whole:
            self.breaches.append(f"{self.how} came back with {answer.status}")
        elif self.how == "text":
            self.id, self.text = answer.headers["minivault-id"], answer.body.decode()
            self.end = "text"  # it does not say how it ended
        else:
            self.id, self.text = answer.json["id"], answer.json["text"]
            self.end = answer.json["finish_reason"]
