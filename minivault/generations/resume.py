"""What happens to a client that comes back with the id of the last event it has seen.

The table of states and answers is the contract's (section 4.4). Rule 0: coming back never starts a
new request; at most it continues an accepted one, with the same seed and so to the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from minivault.backends.base import Request
from minivault.errors import FieldError, KeyConflict
from minivault.generations.audit import THREADS
from minivault.generations.generation import Follower, Generation
from minivault.generations.generation_id import IdParts
from minivault.generations.prompt import prepare, prepare_again, recorded_request
from minivault.generations.record import recorded_call
from minivault.generations.registry import Registry
from minivault.generations.text import Text
from minivault.generations.visitor import Visitor
from minivault.schemas import UNFINISHED, EffectiveParameters, FinishReason, GenerateRequest
from minivault.text_request import Call
from minivault.vault import Record
from minivault.vault.record import seconds

MAX_CONTINUATIONS = 3
_CONTINUABLE = UNFINISHED | {FinishReason.STOP, FinishReason.LENGTH}


@dataclass(frozen=True, slots=True)
class Resumed:
    """The events go on here. The follower must be closed."""

    follower: Follower


@dataclass(frozen=True, slots=True)
class Nothing:
    """The client has everything: 204."""


@dataclass(frozen=True, slots=True)
class Gone:
    """This text cannot be gone on with."""


Answer = Resumed | Nothing | Gone


@dataclass(frozen=True, slots=True)
class Return:
    """One that comes back: who, to which id, the number of the last event it has.

    `asked` is the request in its URL or body, if it came with one.
    """

    id: str
    after: int
    asked: GenerateRequest | None
    visitor: Visitor


async def resume(registry: Registry, back: Return) -> Answer:
    """The answer to one that comes back.

    Raises KeyConflict if the request in the URL is another one, Unavailable if it has to wait.
    """
    parts = registry.ids.read(back.id, back.visitor.caller)
    if parts is None:
        return Gone()
    if back.asked and registry.ids.request_hash(back.asked) != parts.request:
        message = "belongs to another prompt or other parameters"
        raise KeyConflict([FieldError("Last-Event-ID", message)])
    known = registry.find(back.id)
    if known is not None:
        return await _from_memory(registry, known, back)
    return await _from_log(registry, parts, back)


async def rejoin(
    registry: Registry, known: Generation, asked: GenerateRequest, visitor: Visitor
) -> Follower | None:
    """Goes on with one that is named again by its key, if it had been left and can go on."""
    if known.leaving:
        await known.over()
    if not known.unfinished:
        return None
    answer = await resume(registry, Return(known.id, -1, asked, visitor))
    return answer.follower if isinstance(answer, Resumed) else None


async def _from_memory(registry: Registry, known: Generation, back: Return) -> Answer:
    if known.leaving:
        await known.over()
        known = registry.find(back.id) or known  # somebody else may have continued it first
    if known.unfinished:
        return await _continue(registry, back, _Said.in_memory(known))
    if known.ended and back.after >= known.last:
        return Nothing()
    registry.metrics.resumed()
    return Resumed(await registry.attach(known, back.after, lives_on=back.visitor.lives_on))


async def _from_log(registry: Registry, parts: IdParts, back: Return) -> Answer:
    backend = registry.open_backend()
    if parts.engine != registry.engine_hash or not backend.info.reproducible:
        return Gone()
    async with registry.lookups:
        records = await THREADS.run(registry.vault.find, back.id)
    known = registry.find(back.id)
    if known is not None:  # somebody else came back meanwhile
        return await _from_memory(registry, known, back)
    if not records:
        # Another server began it, or our log is gone: the id has the seed, the URL the request.
        return await _continue(registry, back, _Said(parts.seed))
    last = records[0]
    if back.after >= last.events - 1:
        return Nothing()
    if last.finish_reason not in _CONTINUABLE:
        return Gone()
    return await _continue(registry, back, _Said.in_log(records))


@dataclass(frozen=True, slots=True)
class _Said:
    """What is known of a text that is to go on."""

    seed: int
    text: str = ""
    request: Request | None = None
    prompt_tokens: int | None = None
    times: int = 0  # how often it was continued already
    call: Call | None = None
    created: int = 0
    messages: Sequence[dict[str, Any]] = ()

    @classmethod
    def in_memory(cls, known: Generation) -> _Said:
        request, text = known.request, known.text
        assert request is not None
        said = text.said if text.proven else text.expected
        return cls(
            request.seed,
            said,
            request,
            known.prompt_tokens,
            known.continuations,
            known.call,
            known.created,
            known.conversation,
        )

    @classmethod
    def in_log(cls, records: list[Record]) -> _Said:
        """The longest text that any of its records holds is what a client may have seen."""
        last, seed = records[0], records[0].seed
        assert seed is not None
        times = sum("continues" in record.fields for record in records)
        call, created = recorded_call(last), seconds(records[-1].timestamp)
        if last.prompt is None or last.response is None:
            return cls(seed, times=times, call=call, created=created)
        params = EffectiveParameters.model_validate(last.params)
        text = max((record.response or "" for record in records), key=len)
        request = recorded_request(last, params)
        counted = last.usage.get("prompt_tokens")
        return cls(seed, text, request, counted, times, call, created, last.messages)


async def _continue(registry: Registry, back: Return, said: _Said) -> Answer:
    """Runs the request again, under the same id and seed."""
    backend, caller = registry.open_backend(), back.visitor.caller
    if not backend.info.reproducible or said.times >= MAX_CONTINUATIONS:
        return Gone()
    if said.request is not None:
        request = replace(said.request, caller=caller)
        prepared = partial(prepare_again, request, said.prompt_tokens, backend)
    elif back.asked is not None:
        prepared = partial(prepare, back.asked, said.seed, backend, caller)
    else:
        return Gone()  # the log keeps no texts, and nobody says what was asked
    generation = Generation(
        back.id,
        back.asked,
        back.visitor,
        backend.info,
        continuations=said.times + 1,
        text=Text(said.text),
        call=said.call or back.visitor.call,
        created=said.created,
        recorded=list(said.messages),
    )
    follower = await registry.launch(generation, prepared, backend, back.after)
    registry.metrics.continued()
    return Resumed(follower)
