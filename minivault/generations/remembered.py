"""A generation that has ended, made of its record: it can be read, and nothing is made again."""

from __future__ import annotations

from minivault.backends.base import ModelInfo
from minivault.generations.generation import Event, Generation, State
from minivault.generations.prompt import recorded_request
from minivault.generations.record import recorded_call, start_event
from minivault.generations.text import Text
from minivault.generations.visitor import Visitor
from minivault.schemas import EffectiveParameters, FinishReason, Receipt
from minivault.vault import Record
from minivault.vault.record import seconds

_WHOLE = (FinishReason.STOP, FinishReason.LENGTH)


def remembered(record: Record, info: ModelInfo, visitor: Visitor) -> Generation | None:
    """Its events are its start, all of its text, and its end. None for a text that is not whole.

    `info` is of the model that serves, which may be another one.
    """
    reason = record.finish_reason
    if not record.is_whole or not record.id or reason not in _WHOLE or record.seed is None:
        return None
    params = EffectiveParameters.model_validate(record.params)
    logprobs = record.fields.get("logprobs")
    text = Text(
        said=record.response or "",
        tokens=record.tokens("completion_tokens"),
        logprobs=logprobs if isinstance(logprobs, list) else [],
    )
    generation = Generation(record.id, None, visitor, info, text=text)
    generation.call = recorded_call(record)
    generation.request = recorded_request(record, params)
    generation.prompt_tokens = record.tokens("prompt_tokens")
    generation.created = seconds(record.timestamp)
    generation.state, generation.finish_reason = State.ENDED, FinishReason(reason)
    receipt = Receipt(seq=record.seq, hash=record.hash)
    end = {
        "finish_reason": reason,
        "usage": dict(record.usage),
        "timings": record.fields.get("timings", {}),
        "receipt": receipt.model_dump(),
    }
    piece = Event(None, {"text": text.said})
    generation.events = [start_event(generation), piece, Event("done", end)]
    return generation
