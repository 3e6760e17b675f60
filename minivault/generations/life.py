"""The life of a generation, told once: it is accepted, gets a place, speaks and is finished."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial

from minivault.backends.base import Backend, Finish
from minivault.background import Pool, kind, start_thread
from minivault.errors import BackendFailed, LogUnavailable, Lost, MiniVaultError, Unavailable
from minivault.generations.generation import Generation, State
from minivault.generations.places import Places
from minivault.generations.prompt import Prepared
from minivault.generations.record import (
    begin_of,
    in_a_line,
    outcome_of,
    start_event,
    terminal_event,
)
from minivault.generations.run import run
from minivault.generations.speech import Speech
from minivault.metrics import Metrics
from minivault.schemas import UNFINISHED, FinishReason, Receipt
from minivault.trace import trace
from minivault.vault.record import seconds

_PAUSES = (0.1, 0.4, 1.6)  # seconds before a lost text is made again

logger = logging.getLogger(__name__)

_LONG = 2**14  # characters: a tokenizer takes some 2 to 5 µs for each
_PROMPTS, _LONG_PROMPTS = Pool("prompts", 4), Pool("long prompts", 2, nice=True)


async def live(
    generation: Generation,
    prepare: Callable[[], Prepared],
    backend: Backend,
    *,
    places: Places,
    speech: Speech,
    metrics: Metrics,
) -> None:
    """From the request to the last event. Nobody's leaving cancels it: see `Places.end`.

    `prepare` blocks. Raises what keeps the request from being accepted, and nothing after that.
    """
    # Accepted means: the begin is on disk, so there will be a record, whatever happens.
    audit = generation.visitor.audit
    prepared = await _prepared(generation, prepare)
    generation.request, generation.share = prepared.request, prepared.share
    generation.prompt_tokens = prepared.prompt_tokens
    places.admit(generation)
    generation.entry = await audit.begin(begin_of(generation))
    generation.created = generation.created or seconds(generation.entry.timestamp)
    metrics.accepted(generation.visitor.client)
    generation.append(start_event(generation))
    generation.accepted.set_result(None)

    # Waits for a place and speaks there; again from the first token if it had to give way.
    try:
        reason = await places.run(generation, partial(_speak, generation, backend, speech))
    except Exception as failure:  # noqa: BLE001 - whatever it is, it ends this one alone
        reason = FinishReason.ERROR
        generation.failure = generation.failure or _as_error(failure)

    # What the backend held back belongs to the text, unless the text can still go on.
    generation.state = State.ENDING
    if reason not in UNFINISHED and (tail := generation.text.take_tail()):
        speech.say(generation, tail)
    speech.flush()
    if generation.failure:  # of the backend, or of the journal, that of the tail included
        reason = FinishReason.ERROR
    generation.times.ended = time.monotonic()

    # The record is on disk before the last event is sent, which tells its place there.
    receipt: Receipt | None = None
    try:
        kept = await audit.commit(generation.entry, outcome_of(generation, reason))
        receipt = Receipt(seq=kept.seq, hash=kept.hash)
    except LogUnavailable as failure:
        reason, generation.failure = FinishReason.ERROR, failure
    except Exception as failure:  # noqa: BLE001 - its followers wait for the last event
        logger.error("a record could not be made:\n%s", trace(failure))
        reason = FinishReason.ERROR
        generation.failure = BackendFailed(f"the record could not be made: {kind(failure)}")
    generation.finish_reason = reason
    generation.state = State.ENDED
    logger.info("%s", in_a_line(generation, receipt))
    generation.append(terminal_event(generation, receipt))


async def _prepared(generation: Generation, prepare: Callable[[], Prepared]) -> Prepared:
    """In a thread where nobody waits behind what takes long: a chat template, a long prompt."""
    asked = generation.asked
    if asked and asked.prompt is None:
        return await asyncio.wrap_future(start_thread(prepare, name="conversation"))
    if not asked or len(asked.prompt or "") <= _LONG:
        return await _PROMPTS.run(prepare)

    def still_wanted() -> Prepared:
        if generation.ending:
            raise Unavailable("whoever asked has left")
        return prepare()

    return await _LONG_PROMPTS.run(still_wanted)


async def _speak(generation: Generation, backend: Backend, speech: Speech) -> FinishReason:
    """A run of the backend, and another one from the first token if what made the text is lost."""
    assert generation.request is not None
    text = generation.text
    pauses = list(_PAUSES) if backend.info.reproducible else []
    while True:
        text.start_over()
        try:
            async with aclosing(run(backend, generation.request)) as source:
                async for item in source:
                    if isinstance(item, Finish):
                        text.count(item.completion_tokens)
                        if generation.prompt_tokens is None:
                            generation.prompt_tokens = item.prompt_tokens
                        return item.reason
                    generation.made_by = item.engine or generation.made_by
                    generation.drafts = item.drafts or generation.drafts
                    generation.reused_tokens = max(generation.reused_tokens, item.reused)
                    generation.waited = max(generation.waited, item.waited)
                    if said := text.take(item):
                        speech.say(generation, said)
            return FinishReason.STOP
        except Lost as error:
            if not pauses:
                raise
            logger.warning("%s; the text is made again", error)
            await asyncio.sleep(pauses.pop(0) * random.uniform(0.5, 1.5))


def _as_error(failure: Exception) -> MiniVaultError:
    """What a client may know; the trace is logged without its message, which may quote a prompt."""
    if isinstance(failure, MiniVaultError):
        return failure
    logger.error("the backend raised:\n%s", trace(failure))
    return BackendFailed(f"the backend raised {kind(failure)}")
