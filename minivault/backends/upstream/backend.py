"""The backend over upstream servers: whom to ask, and what happens when one is lost in mid-text."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from minivault.backends.base import Finish, ModelInfo, Piece, Rendered, Request
from minivault.backends.upstream.bounded import Spoilt
from minivault.backends.upstream.chunks import Said
from minivault.backends.upstream.counting import Counting
from minivault.backends.upstream.server import SILENCE, Facts, UpstreamServer
from minivault.background import start_task
from minivault.errors import BackendFailed, CannotStart, FieldError, InvalidRequest, Lost
from minivault.schemas import FinishReason

ATTEMPTS = 4  # servers that one text may lose, less one
PATIENCE = 30.0  # seconds that a text waits for a server that works
TICK = 0.25  # seconds between two looks at the servers that were lost
UNKNOWN_CONTEXT = 2048

logger = logging.getLogger("minivault")


class UpstreamBackend:
    """`same_bytes` is the operator's promise that all of them make the same text of a request:
    then a text whose server is lost is made again elsewhere, and resumed and replayed as ever.
    Otherwise another server goes on where it was lost (`splice`), and the record says so.
    """

    def __init__(
        self,
        urls: list[str],
        *,
        key: str | None = None,
        limit: int = 32,
        same_bytes: bool = False,
        splice: bool = True,
    ) -> None:
        """`limit`: how many texts each server makes at once; more wait in the queue."""
        self._same_bytes, self._splice = same_bytes, splice
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(SILENCE, connect=5),
            limits=httpx2.Limits(max_connections=None),
            headers=headers,
            trust_env=False,
        )
        self._servers = [UpstreamServer(url, self._http, limit) for url in urls]
        self._splices = self._losses = 0
        self._first: Facts | None = None
        self._lacks: str | None = None
        self._counting: Counting | None = None
        self._watches: list[asyncio.Task[None]] = []
        self.info = ModelInfo(name="upstream", context_length=UNKNOWN_CONTEXT)

    async def start(self) -> None:
        """Probes all. Raises CannotStart if none answers, or one promises what it cannot keep."""
        await self._probe(self._servers)
        problems = [each.problem for each in self._servers if each.problem]
        if self._first is None or (self._same_bytes and problems):
            raise CannotStart(f"the upstream servers cannot be used: {'; '.join(problems)}")
        facts = [each.facts for each in self._servers if each.facts]
        contexts = [each.context_length for each in facts if each.context_length]
        context = min(contexts, default=None)
        self._lacks = self._notice(context)
        self._counting = Counting(self._servers)
        self.info = ModelInfo(
            name=self._first.model.rsplit("/", 1)[-1],
            context_length=context or UNKNOWN_CONTEXT,
            reproducible=self._same_bytes,
            chat=self._first.chat,
            engine=self._first.engine,
            notice=self._lacks,
        )
        # Each on its own: one that is silent must not keep another from coming back.
        self._watches = [start_task(self._probe_when_due(each)) for each in self._servers]

    async def close(self) -> None:
        """Hangs up everywhere."""
        for each in self._watches:
            each.cancel()
        await self._http.aclose()

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """What is recorded of a conversation: its texts. The server's template makes the prompt.

        Any thread. Raises InvalidRequest for an open answer that the server would not go on in.
        """
        assert self._first
        if messages[-1]["role"] == "assistant" and self._first.dialect.open_answers is None:
            message = f"must not end with the assistant's: {self.info.name} begins another answer"
            raise InvalidRequest([FieldError("messages", message)])
        return _plain(messages)

    def count_tokens(self, prompt: str) -> int | None:
        """The prompt's tokens, as a server tells; None if none does. Any thread but the loop's."""
        counting = self._counting
        if counting is None:
            return None
        before, count = counting.notice, counting.count(prompt)
        if counting.notice != before:
            notices = filter(None, (self._lacks, counting.notice))
            self.info = replace(self.info, notice="; ".join(notices) or None)
        return count

    def problem(self) -> str | None:
        """Why nothing can be made now: no server works."""
        problems = [each.problem for each in self._servers]
        return "; ".join(map(str, problems)) if all(problems) else None

    def share(self, request: Request, prompt_tokens: int) -> float:
        """What is beyond the servers' limits waits in the queue, and is told its place."""
        working = sum(each.limit for each in self._servers if each.problem is None)
        return 1 / working if working else 0.0

    def statistics(self) -> Mapping[str, float]:
        """How many servers work, and how often one was lost in mid-text, or gone on from."""
        working = sum(each.problem is None for each in self._servers)
        return {
            "upstreams": float(len(self._servers)),
            "upstreams_working": float(working),
            "upstreams_lost": float(self._losses),
            "upstream_splices": float(self._splices),
        }

    async def generate(self, request: Request) -> AsyncGenerator[Piece | Finish, None]:
        """Raises Lost where the text must be made again, BackendFailed where it cannot go on.

        Raises InvalidRequest for log probabilities of the prompt.
        """
        if request.params.prompt_logprobs:
            message = f"with logprobs: {self.info.name} tells none of the prompt"
            raise InvalidRequest([FieldError("echo", message)])
        made = _Made()
        server: UpstreamServer | None = None
        for attempt in range(ATTEMPTS):
            before, server = server, await self._chosen(avoid=server)
            prompt, told = made.prompt(request), made.tokens
            if told and isinstance(prompt, Rendered) and not server.goes_on_in_answers:
                raise BackendFailed(f"{server.url} cannot go on in the middle of an answer")
            if before and told:
                made.splices.append({"at": told, "from": before.url, "to": server.url})
                self._splices += 1
            try:
                async with aclosing(server.complete(request, prompt, told)) as source:
                    async for item in source:
                        if isinstance(item, Finish):
                            yield made.finish(item, told)
                            return
                        piece = made.take(item)
                        if piece.tokens:
                            yield piece
            except Lost as error:
                self._losses += 1
                if isinstance(error, Spoilt):
                    server.doubt()
                else:
                    server.lost(str(error))
                if made.tokens >= request.max_tokens:
                    yield Finish(FinishReason.LENGTH)
                    return
                if made.tokens and self._same_bytes:
                    raise  # whoever asked has it made again, from its first token
                if made.tokens and not self._splice:
                    raise BackendFailed(f"{error}; no other may go on with it") from error
                logger.warning("%s; another server goes on", error)
                await asyncio.sleep(0.05 * 2**attempt * random.random())
        raise BackendFailed(f"{ATTEMPTS} upstream servers in a row were lost")

    async def _chosen(self, avoid: UpstreamServer | None) -> UpstreamServer:
        """The first by `rank` that is not to be avoided; waits for a while for one that works."""
        for _ in range(round(PATIENCE / TICK)):
            free = [each for each in self._servers if each.has_room]
            others = [each for each in free if each is not avoid]
            if free:
                return min(others or free, key=UpstreamServer.rank)
            await asyncio.sleep(TICK)
        raise BackendFailed(f"no upstream server works: {self.problem() or 'all are full'}")

    async def _probe_when_due(self, server: UpstreamServer) -> None:
        while True:
            if server.due:
                await self._probe([server])
            await asyncio.sleep(TICK)

    async def _probe(self, servers: list[UpstreamServer]) -> None:
        """Takes in those that work and serve what the first one does."""
        await asyncio.gather(*(each.probe() for each in servers))
        for server in servers:
            self._first = self._first or server.facts
            if server.problem is None and (why := self._unlike(server)):
                server.lost(why)

    def _unlike(self, server: UpstreamServer) -> str | None:
        first, facts = self._first, server.facts
        assert first
        assert facts
        if facts.model != first.model:
            return f"{server.url} serves {facts.model}, and not {first.model} as the others do"
        if facts.chat != first.chat:
            has, others = ("a", "none") if facts.chat else ("no", "one")
            return f"{server.url} has {has} chat template, and the others have {others}"
        if self._same_bytes and facts.fingerprint != first.fingerprint:
            return (
                f"{server.url} has the fingerprint {facts.fingerprint}, not {first.fingerprint}: "
                "it may make other bytes (--upstream-same-bytes)"
            )
        return None

    def _notice(self, context: int | None) -> str | None:
        sentences = []
        if not self._same_bytes:
            sentences.append("texts of upstream servers are recorded, but cannot be replayed")
        if self._first and not (self._first.dialect.counts_chats or not self._first.chat):
            sentences.append("prompts of conversations are not counted before they are sent")
        elif self._first and not self._first.dialect.counts:
            sentences.append("prompts are not counted before they are sent")
        if context is None:
            sentences.append(f"the upstream server names no context, {UNKNOWN_CONTEXT} is assumed")
        return "; ".join(sentences) or None


@dataclass(slots=True)
class _Made:
    """What has come of a text so far, from whichever server."""

    tokens: int = 0
    text: str = ""
    ids: tuple[int, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    splices: list[dict[str, Any]] = field(default_factory=list)

    def take(self, said: Said) -> Piece:
        """The piece, which tells of the servers that were lost before it."""
        self.tokens += said.piece.tokens
        self.text += said.piece.text
        self.ids += said.ids
        self.prompt_ids = self.prompt_ids or said.prompt_ids
        if not self.splices:
            return said.piece
        return replace(said.piece, engine={"splices": self.splices, "reproducible": False})

    def prompt(self, request: Request) -> str | list[int]:
        """What to go on from: token ids where all are known, since text can be read otherwise."""
        prompt = request.prompt
        if not self.tokens:
            return prompt
        if self.prompt_ids and len(self.ids) == self.tokens:
            return [*self.prompt_ids, *self.ids]
        if not isinstance(prompt, Rendered):
            return prompt + self.text
        *before, last = prompt.messages
        if last["role"] == "assistant":
            return _plain([*before, {**last, "content": last["content"] + self.text}])
        return _plain([*prompt.messages, {"role": "assistant", "content": self.text}])

    def finish(self, told: Finish, before: int) -> Finish:
        """The end, told of a text without its first tokens, of the whole one."""
        if not before:
            return told
        rest = told.completion_tokens
        return Finish(told.reason, None if rest is None else before + rest)


def _plain(messages: Sequence[Mapping[str, Any]]) -> Rendered:
    """The texts of a conversation in lines, and where each stands."""
    placed, at = [], 0
    for each in messages:
        end = at + len(each["content"])
        placed.append({**each, "at": [[at, end]]})
        at = end + 1
    return Rendered("\n".join(each["content"] for each in messages), placed)
