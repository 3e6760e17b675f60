"""What happens to a client that comes back with the id of the last event it has seen.

The table of states and answers is the contract's (section 4.4). Rule 0: coming back never starts a
new request; at most it continues an accepted one, with the same seed and so to the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from minivault.backends.base import Backend, Request
from minivault.background import in_thread
from minivault.errors import FieldError, KeyConflict
from minivault.generations.audit import Audit
from minivault.generations.generation import UNFINISHED, Follower, Generation
from minivault.generations.generation_id import IdParts, engine_hash
from minivault.generations.prompt import resolve
from minivault.generations.registry import Registry
from minivault.generations.text import Text
from minivault.schemas import Client, EffectiveParameters, FinishReason, GenerateRequest
from minivault.vault import Record

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
    """A client that comes back: the id, the number of the last event it has, how it came.

    `asked` is the request in its URL or body, if it came with one.
    """

    id: str
    after: int
    asked: GenerateRequest | None
    client: Client
    caller: str = ""
    lives_on: bool = True


async def start(
    registry: Registry,
    asked: GenerateRequest,
    *,
    client: Client,
    audit: Audit,
    caller: str,
    lives_on: bool,
) -> Follower:
    """As `Registry.start`; but one that comes again by its key goes on if it had been left."""
    known = registry.named(asked, caller)
    if known is not None:
        if known.leaving:
            await known.over()
        if known.unfinished:
            back = Return(known.id, -1, asked, client, caller, lives_on)
            answer = await resume(registry, back, audit)
            if isinstance(answer, Resumed):
                return answer.follower
    return await registry.start(asked, client=client, audit=audit, caller=caller, lives_on=lives_on)


async def resume(registry: Registry, back: Return, audit: Audit) -> Answer:
    """The answer to one that comes back.

    Raises KeyConflict if the request in the URL is another one, Unavailable if it has to wait.
    """
    parts = registry.ids.read(back.id, back.caller)
    if parts is None:
        return Gone()
    if back.asked and registry.ids.request_hash(back.asked) != parts.request:
        message = "belongs to another prompt or other parameters"
        raise KeyConflict([FieldError("Last-Event-ID", message)])
    known = registry.find(back.id)
    if known is not None:
        return await _from_memory(registry, known, back, audit)
    return await _from_log(registry, parts, back, audit)


async def _from_memory(registry: Registry, known: Generation, back: Return, audit: Audit) -> Answer:
    if known.leaving:
        await known.over()
        known = registry.find(back.id) or known  # somebody else may have continued it first
    if known.unfinished:
        return await _continue(registry, back, audit, _Said.in_memory(known))
    if known.ended and back.after >= known.last:
        return Nothing()
    registry.metrics.resumed()
    return Resumed(await registry.attach(known, back.after, lives_on=back.lives_on))


async def _from_log(registry: Registry, parts: IdParts, back: Return, audit: Audit) -> Answer:
    backend = registry.open_backend()
    if parts.engine != engine_hash(backend.info) or not backend.info.reproducible:
        return Gone()
    records = await in_thread(registry.vault.find, back.id)
    known = registry.find(back.id)
    if known is not None:  # somebody else came back meanwhile
        return await _from_memory(registry, known, back, audit)
    if not records:
        return await _continue_asked(registry, parts, back, audit)
    last = records[0]
    if back.after >= last.events - 1:
        return Nothing()
    if last.finish_reason not in _CONTINUABLE:
        return Gone()
    return await _continue(registry, back, audit, _Said.in_log(records))


async def _continue_asked(registry: Registry, parts: IdParts, back: Return, audit: Audit) -> Answer:
    """Another server began it, or our log is gone: the id has the seed, the URL the request."""
    if back.asked is None:
        return Gone()
    return await _continue(registry, back, audit, _Said(seed=parts.seed))


@dataclass(frozen=True, slots=True)
class _Said:
    """What is known of a text that is to go on."""

    seed: int
    text: str = ""
    request: Request | None = None
    prompt_tokens: int | None = None
    times: int = 0  # how often it was continued already

    @classmethod
    def in_memory(cls, known: Generation) -> _Said:
        assert known.request is not None
        text = known.text.said if known.text.proven else known.text.expected
        return cls(
            known.request.seed, text, known.request, known.prompt_tokens, known.continuations
        )

    @classmethod
    def in_log(cls, records: list[Record]) -> _Said:
        """The longest text that any of its records holds is what a client may have seen."""
        last, seed = records[0], records[0].seed
        assert seed is not None
        times = sum("continues" in record.fields for record in records)
        if last.prompt is None or last.response is None:
            return cls(seed, times=times)
        params = EffectiveParameters.model_validate(last.params)
        text = max((record.response or "" for record in records), key=len)
        request = Request(last.prompt, params, seed)
        return cls(seed, text, request, last.usage.get("prompt_tokens"), times)


async def _continue(registry: Registry, back: Return, audit: Audit, said: _Said) -> Answer:
    """Runs the request again, under the same id and seed."""
    backend = registry.open_backend()
    if not backend.info.reproducible or said.times >= MAX_CONTINUATIONS:
        return Gone()
    if said.request is None and back.asked is None:
        return Gone()  # the log keeps no texts, and nobody says what was asked
    registry.check_room(back.caller)
    generation = Generation(
        back.id,
        back.asked,
        back.caller,
        back.client,
        audit,
        continuations=said.times + 1,
        text=Text(expected=said.text),
    )
    accept = _accept(generation, said, backend)
    follower = await registry.launch(generation, accept, after=back.after, lives_on=back.lives_on)
    registry.metrics.continued()
    return Resumed(follower)


async def _accept(generation: Generation, said: _Said, backend: Backend) -> None:
    if said.request is not None:
        generation.request = replace(said.request, caller=generation.caller)
        generation.prompt_tokens = said.prompt_tokens
        return
    assert generation.asked is not None
    generation.request, generation.prompt_tokens = await in_thread(
        resolve, generation.asked, said.seed, backend, generation.caller
    )
