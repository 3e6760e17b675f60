"""The shapes of what goes in and out: validation, OpenAPI, command line and page use them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from minivault.errors import FieldError
from minivault.steering import Steering

MAX_SEED = 2**53 - 1
MOST_ERRORS = 20  # that one answer tells
KEY_PATTERN = r"^[A-Za-z0-9_-]{8,64}$"

_MESSAGES = {
    "finite_number": "must be a number, and neither infinite nor NaN",
    "string_unicode": "holds half a surrogate pair, which is no text",
}

StopString = Annotated[str, Field(min_length=1, max_length=1000)]


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # end of text, or a stop string
    LENGTH = "length"  # max_tokens
    CANCELLED = "cancelled"  # somebody said stop
    DISCONNECTED = "disconnected"  # nobody listened any more
    INTERRUPTED = "interrupted"  # the server went away
    ERROR = "error"


#: Ends after which the same text can go on: what was held back of it was not said.
UNFINISHED = frozenset({FinishReason.DISCONNECTED, FinishReason.INTERRUPTED})


class Client(StrEnum):
    """By which door a request came."""

    SSE = "sse"
    TEXT = "text"
    JSON = "json"
    CLI = "cli"


class Parameters(BaseModel):
    """What a client may choose about the text; everything has a default."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    max_tokens: int = Field(
        default=128,
        ge=1,
        validation_alias=AliasChoices("max_tokens", "max_new_tokens"),
        description="How many tokens at most; cut to what is left of the model's context.",
    )
    temperature: float = Field(
        default=0.8, ge=0, le=2, description="0 always takes the likeliest token; higher is wilder."
    )
    top_k: int = Field(
        default=50,
        ge=0,
        le=1000,
        description="Draw from the k likeliest tokens only; 0 is off.",
    )
    top_p: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="Draw from the likeliest tokens that together reach this probability.",
    )
    repetition_penalty: float = Field(
        default=1.1,
        ge=1,
        le=2,
        description="Makes tokens that were there less likely; 1 is off.",
    )
    stop: list[StopString] = Field(
        default_factory=list, max_length=8, description="The text ends before any of these strings."
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SEED,
        description="The same seed gives the same text; drawn at random and reported if absent.",
    )
    top_logprobs: int = Field(
        default=0,
        ge=0,
        le=20,
        description="Alternatives to report with each token's log probability; 0 is off.",
    )
    end_at_sentence: bool = Field(
        default=False,
        description="End with a sentence in the last quarter of max_tokens, where one ends there.",
    )


class Message(BaseModel):
    """One turn of a conversation, for models with a chat template."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=1_000_000)


class GenerateRequest(Parameters):
    """What `POST /generate` takes as JSON, and `GET /generate` as query parameters."""

    prompt: str | None = Field(
        default=None,
        min_length=1,
        description="The text to continue. Either this or messages.",
        examples=["Once upon a time"],
    )
    messages: list[Message] | None = Field(
        fail_fast=True,  # a thousand wrong ones are not told one by one
        default=None,
        min_length=1,
        max_length=1000,
        description="A conversation, for a model with a chat template. Either this or prompt. "
        "If its last message is the assistant's, the text goes on in that message.",
    )
    key: str | None = Field(
        default=None,
        pattern=KEY_PATTERN,
        description="The client's own name for this request: the same key never starts it twice.",
    )

    @model_validator(mode="after")
    def _either_prompt_or_messages(self) -> GenerateRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("exactly one of prompt and messages is required")
        return self

    @property
    def conversation(self) -> list[dict[str, Any]]:
        """The messages, as a chat template gets them; empty for a prompt."""
        return [message.model_dump() for message in self.messages or []]


class EffectiveParameters(Steering):
    """The parameters that were used, as `start`, the JSON answer and the record report them.

    `sentence_after`: the text ends with the first sentence that ends after so many tokens.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)
    left_out: ClassVar[tuple[str, ...]] = ("sentence_after",)

    max_tokens: int
    max_tokens_requested: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0
    sentence_after: int = 0


class Usage(BaseModel):
    """How many tokens went in and came out; None where a backend cannot count its prompt.

    `cached_tokens` are those of the prompt that had been computed before; told where there are any.
    """

    prompt_tokens: int | None
    completion_tokens: int
    cached_tokens: int = 0

    @model_serializer(mode="wrap")
    def _without_zero(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        return (
            told if self.cached_tokens else {k: v for k, v in told.items() if k != "cached_tokens"}
        )


class Timings(BaseModel):
    """Milliseconds. `queue_ms` until it got a place, `first_token_ms` from acceptance.

    `drafted` tokens were guessed ahead, of which `accepted` were right; absent where none were.
    `schema_ms`: for how long the text waited for what its schema allows; absent where it did not.
    """

    queue_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float
    tokens_per_second: float | None = None
    drafted: int | None = None
    accepted: int | None = None
    schema_ms: float | None = None


class Receipt(BaseModel):
    """Where a record stands in the log, and the SHA-256 of its line."""

    seq: int
    hash: str


class Problem(BaseModel):
    """An error as application/problem+json (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] | None = None


def field_errors(
    error: ValidationError, right: Mapping[str, str] | None = None
) -> list[FieldError]:
    """The errors of pydantic without the input, which may be a prompt; the first of many.

    `right` says in plain words what would be right in a field, where pydantic's own are no help.
    """
    right = right or {}
    found = []
    errors = error.errors(include_input=False, include_url=False, include_context=False)
    for item in errors[:MOST_ERRORS]:
        names = [str(part) for part in item["loc"]]
        name = ".".join(part for part in names if not part.isdigit())
        message = _MESSAGES.get(item["type"]) or right.get(name) or item["msg"]
        if item["type"] == "extra_forbidden":
            meant = get_close_matches(name[:64], right, n=1, cutoff=0.7)
            advice = f"{meant[0].rpartition('.')[2]} may be meant" if meant else "/docs lists them"
            message = f"is no field of a request; {advice}"
        message = message.removeprefix("Value error, ")
        found.append(FieldError(printable(".".join(names) or "request"), message))
    return found


def printable(name: str) -> str:
    """A field name as the client wrote it, short and safe to send back."""
    return name[:64].encode("ascii", "backslashreplace").decode("ascii")
