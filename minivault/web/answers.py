"""The shapes of what the routes answer, and of the events of a stream; /openapi.json shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from minivault.schemas import (
    Client,
    EffectiveParameters,
    FinishReason,
    Receipt,
    Timings,
    Usage,
)
from minivault.web.log_health import LogHealth


def as_json(
    answer: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer as it goes out: what nobody set of it is left out."""
    content = answer.model_dump_json(exclude_unset=True)
    return Response(content, status, headers, media_type="application/json")


# ---- generations ---------------------------------------------------------------------------------


class Fault(BaseModel):
    """Why a generation failed."""

    type: Literal["backend", "log", "not_reproducible"]
    message: str


class TokenProbability(BaseModel):
    """A token, and the natural logarithm of its probability."""

    token: str
    logprob: float
    bytes: list[int] | None = Field(None, description="Where it is no whole character.")


class TokenLogprobs(TokenProbability):
    """A drawn token and the likeliest ones in its place; asked for with `top_logprobs`."""

    top: list[TokenProbability] = []


class GenerateAnswer(BaseModel):
    """The whole generation as one object, once it has ended."""

    id: str = Field(description="The generation's id; signed, and it carries the seed.")
    model: str
    text: str
    finish_reason: FinishReason
    usage: Usage | None
    timings: Timings | None
    seed: int
    params: EffectiveParameters
    receipt: Receipt | None = Field(description="Where the record stands in the log.")
    logprobs: list[TokenLogprobs] | None = None
    error: Fault | None = None


class Stopped(BaseModel):
    """A generation that was asked to stop, and has."""

    id: str
    finish_reason: FinishReason
    receipt: Receipt | None


class StartEvent(BaseModel):
    """`start`, the first event: the request is accepted, its begin is on disk."""

    id: str
    model: str
    seed: int
    prompt_tokens: int | None
    params: EffectiveParameters


class PieceEvent(BaseModel):
    """The default event, `message`: the next piece of the text, never empty."""

    text: str
    logprobs: list[TokenLogprobs] | None = None


class QueuedEvent(BaseModel):
    """`queued`, without an id: how many are before this one, itself included."""

    position: int


class DoneEvent(BaseModel):
    """`done`, the last event of a text that came to its end."""

    finish_reason: Literal["stop", "length"]
    usage: Usage
    timings: Timings
    receipt: Receipt


class StoppedEvent(BaseModel):
    """`stopped`, the last event; with `resumable` it has no id, and the client comes again."""

    finish_reason: Literal["cancelled", "disconnected", "interrupted"]
    resumable: bool | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    receipt: Receipt | None = None


class FailedEvent(BaseModel):
    """`failed`, the last event of a generation that could not go on."""

    finish_reason: Literal["error"]
    error: Fault
    usage: Usage | None = None
    timings: Timings | None = None
    receipt: Receipt | None = None


class GoneEvent(BaseModel):
    """`gone`: this text is not here any more and cannot be made again."""

    code: str
    detail: str


# ---- server --------------------------------------------------------------------------------------


class Model(BaseModel):
    """The model that serves."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    context_length: int = Field(description="Tokens of prompt and text together.")
    chat: bool = Field(description="Whether it takes `messages`.")
    reproducible: bool = Field(description="Whether the same request gives the same bytes.")
    sha256: str | None
    tokenizer_sha256: str | None
    engine: dict[str, Any]
    defaults: dict[str, float] = Field(
        description="The parameters that its makers recommend: in force where a request is silent."
    )


class ModelOnDisk(BaseModel):
    """A model in the models folder, or the one that comes along."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    sha256: str | None
    revision: str | None
    size: int = Field(description="Bytes.")
    source: str
    license: str | None = Field(description="What a GGUF file says of its own.")


class Models(BaseModel):
    """The models on disk, and the one that serves."""

    serving: Model | None
    models: list[ModelOnDisk]


Status = Literal["ready", "loading", "draining", "unavailable", "failed"]


class Health(BaseModel):
    """Whether work is taken. Off loopback, without a key, only `status` and `detail`."""

    status: Status
    detail: str | None = Field(default=None, description="Why no work is taken.")
    version: str | None = None
    model: Model | None = None
    wanted: str | None = None
    notice: str | None = Field(
        default=None, description="Why another model serves than wanted, or why it is slow."
    )
    progress: float | None = Field(default=None, description="Of a download, 0 to 1.")
    warnings: list[str] | None = Field(
        default=None, description="What costs speed, memory or a promise here, and what mends it."
    )
    context_length: int | None = None
    chat: bool | None = None
    running: int | None = None
    waiting: int | None = None
    log: LogHealth | None = None


# ---- log -----------------------------------------------------------------------------------------


UNREADABLE = Field(description="The files of the log that could not be read, or not to their end.")


class RecordSummary(BaseModel):
    """A record as a row of a list; the texts are cut."""

    seq: int
    timestamp: str
    prompt: str | None = Field(description="Of a conversation its last question.")
    response: str | None
    turn: int | None = Field(description="Which turn of a conversation it is; null for a text.")
    finish_reason: FinishReason | None
    model: str | None
    client: Client | None
    completion_tokens: int | None
    kind: str | None = Field(description="redacted, redaction or withheld; null for a plain one.")
    redacts: int | None = Field(description="The record whose text was removed.")
    replays: int | None = Field(description="The record that was made again.")


class RecordPage(BaseModel):
    """Records, newest first. `before` goes on; null at the end."""

    records: list[RecordSummary]
    before: int | None
    first: int
    last: int
    unreadable: list[str] = UNREADABLE


class RecordDetail(BaseModel):
    """One record: its line as it stands, the SHA-256 of the line, its fields."""

    seq: int
    hash: str
    line: str
    record: dict[str, Any]


class Verification(BaseModel):
    """Whether the log is whole; if not, the first bad line and why."""

    ok: bool
    at: str
    file: str | None = None
    line: int | None = None
    seq: int | None = Field(default=None, description="The record at that line.")
    reason: str | None = None
    first: int | None = None
    last: int | None = None
    head: str | None = Field(default=None, description="The hash of the last line.")
    checkpoint: int | None = Field(
        default=None, description="Up to here a kept head says that nothing was cut off; 0: none."
    )
    is_signed: bool | None = None
    redacted: list[int] | None = None
    unproven: list[int] | None = None
    unfinished: list[int] | None = None
    tree: int | None = Field(
        default=None, description="The tree is made of the same records, up to here; 0: none."
    )


class ReplayAnswer(BaseModel):
    """The text made again, and whether it is the same."""

    seq: int
    verdict: Literal["same", "differs", "not reproducible"]
    at: int | None = Field(description="The first character that differs.")
    why: str | None
    changes: list[str] = Field(description="What else differs: model, engine, versions.")
    summary: str
    recorded: str
    text: str


class Bucket(BaseModel):
    """A span of time."""

    start: str
    requests: int
    tokens: int
    reasons: dict[str, int]


class History(BaseModel):
    """Requests and tokens over time, and the last verification."""

    width_s: int
    buckets: list[Bucket]
    unreadable: list[str] = UNREADABLE
    verified: Verification | None = None
