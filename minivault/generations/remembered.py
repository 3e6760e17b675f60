"""A generation that has ended, made of its record: it can be read, and nothing is made again."""

from __future__ import annotations

from minivault.backends.base import ModelInfo
from minivault.generations.generation import Event, Generation, State
from minivault.generations.prompt import recorded_request
from minivault.generations.record import EVENT_NAMES, recorded_call, start_event
from minivault.generations.text import Text
from minivault.generations.visitor import Visitor
from minivault.schemas import EffectiveParameters, FinishReason, Receipt
from minivault.vault import Record
from minivault.vault.record import seconds

_EMPTY = Event(None, {"text": ""})


def remembered(record: Record, info: ModelInfo, visitor: Visitor) -> Generation | None:
    """It has as many events as it had, but all of its text in the first piece.

    None for a record without text. `info` is of the model that serves, which may be another one.
    """
    reason = record.finish_reason
    if not record.is_whole or not record.id or not reason or record.seed is None:
        return None
    params = EffectiveParameters.model_validate(record.params)
    found = record.fields.get("logprobs")
    logprobs = found if isinstance(found, list) else []
    scored = record.tokens("prompt_tokens") if params.prompt_logprobs else 0
    text = Text(
        said=record.response or "",
        tokens=record.tokens("completion_tokens"),
        logprobs=logprobs[scored:],
        scores=logprobs[:scored],
    )
    generation = Generation(record.id, None, visitor, info, text=text)
    generation.call = recorded_call(record)
    generation.request = recorded_request(record, params)
    generation.prompt_tokens = record.tokens("prompt_tokens")
    generation.reused_tokens = record.tokens("cached_tokens")
    generation.created = seconds(record.timestamp)
    generation.state, generation.finish_reason = State.ENDED, FinishReason(reason)
    receipt = Receipt(seq=record.seq, hash=record.hash)
    generation.recorded = record.messages
    end = {
        "finish_reason": reason,
        "usage": dict(record.usage),
        "timings": record.fields.get("timings", {}),
        "receipt": receipt.model_dump(),
    }
    if "error" in record.fields:
        end["error"] = record.fields["error"]
    pieces = [Event(None, {"text": text.said})] + [_EMPTY] * (record.events - 3)
    last = Event(EVENT_NAMES[generation.finish_reason], end)
    generation.events = [start_event(generation), *pieces, last]
    return generation
