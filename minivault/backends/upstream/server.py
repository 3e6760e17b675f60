"""One OpenAI-compatible server: what it serves, its circuit, and a stream of its completions."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import httpx2

from minivault.backends.base import Finish, Request
from minivault.backends.upstream import bounded
from minivault.backends.upstream.bounded import Spoilt
from minivault.backends.upstream.chunks import Said, items
from minivault.backends.upstream.dialect import DIALECTS, Dialect, completion, counted, kind_of
from minivault.errors import BackendFailed, Lost

SILENCE = 60.0  # seconds without a byte after which a server counts as lost
PROBE = 30.0  # seconds that a probe may take
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a lost server is tried again
DOUBTFUL = 10.0  # seconds that others are asked first after a text came to nothing
BUSY = {429, 502, 503, 504, 529}  # the server's trouble; any other status is the request's
_NAME = re.compile(r"[\w.\[\]-]{1,60}")  # of an error or a field, and no sentence
NO_TEMPLATE = {400, 404, 405, 422, 501}  # to a conversation; any other is a server in trouble
REFUSING = 5.0  # seconds that the words of a refusal may take

_NO_ANSWER = (
    httpx2.HTTPError,
    TimeoutError,
    RecursionError,
    AttributeError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself. `kind` names its dialect; `chat`: it has a chat template."""

    model: str
    kind: str
    context_length: int | None
    fingerprint: str | None
    chat: bool

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.kind]

    @property
    def engine(self) -> dict[str, Any]:
        """What a record says of it."""
        return {"runner": "upstream", **asdict(self), "logprobs": self.dialect.logprobs}


class UpstreamServer:
    """A server and its circuit: closed while it works, open from a loss until a probe succeeds."""

    def __init__(self, url: str, http: httpx2.AsyncClient, limit: int) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.limit = limit
        self.running = 0
        self.losses = 0  # since the last success
        self.facts: Facts | None = None
        self.problem: str | None = "it was not asked yet"
        self._http = http
        self._doubted = False
        self._doubtful_until = self._next_probe = 0.0

    @property
    def has_room(self) -> bool:
        return self.problem is None and self.running < self.limit

    @property
    def goes_on_in_answers(self) -> bool:
        """Whether a conversation that ends with the assistant goes on in that message."""
        return bool(self.facts and self.facts.dialect.open_answers is not None)

    @property
    def due(self) -> bool:
        """Whether a doubted server, or a lost one, should be tried now."""
        return self._doubted or (self.problem is not None and time.monotonic() >= self._next_probe)

    def doubt(self) -> None:
        """A text came to nothing: a probe is to tell whether the server or that text was at fault.

        Others go on being asked of it meanwhile, or one request could take it away from them.
        """
        self._doubted = True
        self._doubtful_until = time.monotonic() + DOUBTFUL

    def rank(self) -> tuple[bool, int, float]:
        """The lowest of all is to be asked: one that makes few texts, and spoilt none just now."""
        return time.monotonic() < self._doubtful_until, self.running, random.random()

    def lost(self, why: str) -> None:
        """Opens the circuit; the pause doubles with each loss in a row."""
        self.losses += 1
        self.problem = why
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.losses - 1))
        self._next_probe = time.monotonic() + pause * random.uniform(0.8, 1.2)

    async def probe(self) -> None:
        """Asks what it serves, and for one token, since only that shows that it works.

        Closes the circuit, or leaves it open for longer.
        """
        self._doubted = False
        try:
            models = await self._json("GET", "/v1/models")
            model = models["data"][0]
            body = {"model": model["id"], "prompt": "a", "max_tokens": 1, "temperature": 0}
            answer = await self._json("POST", "/v1/completions", json={**body, "seed": 1})
            answer["choices"][0]["text"]
            chat = await self._chats(model["id"])
        except _NO_ANSWER as error:
            self.lost(f"{self.url} does not answer as OpenAI's API does ({type(error).__name__})")
            return
        self.facts = Facts(
            model=model["id"],
            kind=kind_of(model),
            context_length=_context(model),
            fingerprint=answer.get("system_fingerprint"),
            chat=chat,
        )
        self.losses, self.problem = 0, None

    async def complete(
        self, request: Request, prompt: str | list[int], told: int
    ) -> AsyncGenerator[Said | Finish, None]:
        """The completion of a prompt that holds `told` of the request's tokens already.

        Closing it hangs up, at which the server stops. Raises Lost where the server is, Spoilt
        where only this text may be, BackendFailed where the request is at fault.
        """
        assert self.facts
        begun = False
        path, body = completion(self.facts.kind, self.facts.model, request, prompt, told)
        self.running += 1
        try:
            async with self._http.stream("POST", self.url + path, json=body) as answer:
                if answer.status_code != 200:
                    raise await self._refusal(answer)
                begun = True
                async for item in items(
                    bounded.lines(answer.aiter_bytes()), request.params.top_logprobs
                ):
                    yield item
        except httpx2.TransportError as error:
            silent = isinstance(error, httpx2.TimeoutException)
            lost = Spoilt if begun and not silent else Lost
            raise lost(f"{self.url} went away ({type(error).__name__})") from error
        finally:
            self.running -= 1

    def counting(self, prompt: str) -> tuple[str, dict[str, Any]] | None:
        """Where its tokens are counted, and what goes there; None if it cannot tell now."""
        facts = self.facts
        body = counted(facts.dialect, facts.model, prompt) if facts else None
        if self.problem or facts is None or body is None or facts.dialect.counts is None:
            return None
        return facts.dialect.counts[0], body

    async def counted(self, path: str, body: bytes, seconds: float) -> bytes | None:
        """What it answers to that, in so many seconds; None if it does not."""
        try:
            headers = {"Content-Type": "application/json"}
            asked = self._fetched("POST", path, seconds, content=body, headers=headers)
            status, answer = await asked
        except (httpx2.HTTPError, TimeoutError, ValueError):
            return None
        return answer if status == 200 else None

    async def _chats(self, model: str) -> bool:
        """Whether it answers conversations by a template, as an answer of one token shows.

        Raises ValueError where it cannot tell now.
        """
        messages = [{"role": "user", "content": "a"}]
        body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0, "seed": 1}
        try:
            answer = await self._json("POST", "/v1/chat/completions", json=body)
        except _Refused as error:
            if error.status in NO_TEMPLATE:
                return False
            raise
        return (answer.get("minivault") or {}).get("template") != "plain"

    async def _refusal(self, answer: httpx2.Response) -> Exception:
        status = answer.status_code
        if status in BUSY:
            return Lost(f"{self.url} answered {status}")
        # Its message may quote the prompt, which an error must not; what is wrong stands beside it.
        try:
            async with asyncio.timeout(REFUSING):
                words = await bounded.body(answer.aiter_bytes(), bounded.LONGEST_REFUSAL)
            error = json.loads(words)["error"]
            told = [str(error[name]) for name in ("type", "code", "param") if error.get(name)]
            told = [each for each in told if _NAME.fullmatch(each)]
        except (TimeoutError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
            told = []
        return BackendFailed(f"{self.url} refused with {status} ({', '.join(told) or 'no reason'})")

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        status, body = await self._fetched(method, path, PROBE, **options)
        if not 200 <= status < 300:
            raise _Refused(status)
        content: dict[str, Any] = json.loads(body)
        return content

    async def _fetched(
        self, method: str, path: str, seconds: float, **options: Any
    ) -> tuple[int, bytes]:
        """Status and body of a whole answer, which may take so many seconds in all.

        Raises TimeoutError, ValueError for one that is too long, httpx2.HTTPError.
        """
        url = self.url + path
        async with (
            asyncio.timeout(seconds),
            self._http.stream(method, url, timeout=seconds, **options) as answer,
        ):
            found = await bounded.body(answer.aiter_bytes(), bounded.LONGEST_BODY)
            return answer.status_code, found


class _Refused(ValueError):
    """An answer of another status than success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def _context(model: Mapping[str, Any]) -> int | None:
    meta = model.get("meta") or {}
    found = model.get("max_model_len") or model.get("context_length") or meta.get("n_ctx")
    return int(found) if found else None
