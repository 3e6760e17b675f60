"""What the fields of a request over /v1 may say, and which of them have no effect here.

Null is absence, everywhere. What would change the text and is not done is refused by name; what
cannot change it is ignored, and told so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from minivault.errors import FieldError, InvalidRequest, Unsupported
from minivault.schemas import MAX_SEED, field_errors, printable
from minivault.web.openai.complaints import MOST_STOPS, RIGHT, in_our_words
from minivault.web.openai.formats import format_of

#: These tell something of the caller and are recorded with the request.
RECORDED = ("user", "metadata", "safety_identifier", "prompt_cache_key")

#: These cannot change the text: they are ignored.
WITHOUT_EFFECT = {
    "store",
    "service_tier",
    "verbosity",
    "prediction",
    "prompt_cache_options",
    "prompt_cache_retention",
    "moderation",
    "reasoning_effort",
    "reasoning",
    "add_generation_prompt",
    "continue_final_message",
    "include",
    "truncation",
    "cache_prompt",
    "keep_alive",
    "num_ctx",
    "options",
    "extra_headers",
}

_NO_TOOLS = "is for conversations alone: POST it to /v1/chat/completions with messages"
_NOT_DONE = "is not supported by this server; leave it out"

#: What is accepted only with a value that asks for nothing: the sentence says why.
NEUTRAL: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "tools": (lambda value: value == [], _NO_TOOLS),
    "tool_choice": (lambda value: value in ("none", "auto"), _NO_TOOLS),
    "functions": (lambda value: value == [], "is out of use: send tools instead"),
    "function_call": (lambda value: value == "none", "is out of use: send tool_choice instead"),
    "suffix": (lambda value: value == "", "is not supported: this model does not fill in middles"),
    "modalities": (lambda value: value == ["text"], 'must be ["text"]: this model writes text'),
    "audio": (lambda value: False, "is not supported: this model writes text"),
    "web_search_options": (lambda value: False, "is not supported: nothing is searched"),
    **{
        name: (lambda value: False, _NOT_DONE)
        for name in (
            "grammar",
            "structured_outputs",
            "guided_json",
            "guided_regex",
            "guided_choice",
            "guided_grammar",
            "min_tokens",
            "ignore_eos",
            "stop_token_ids",
            "bad_words",
            "typical_p",
            "mirostat",
            "conversation",
            "context_management",
        )
    },
}

#: Names that other doors and other servers have for what goes by another one here.
INSTEAD: Mapping[str, str] = {
    **dict.fromkeys(
        ("max_new_tokens", "max_length", "max_output_tokens", "n_predict", "num_predict"),
        "max_tokens says how long the text may be",
    ),
    "stop_sequences": "stop has the strings before which the text ends",
    "repeat_penalty": "repetition_penalty is meant",
    "text": "response_format says what form the text must have",
}

_Bias = Annotated[float, Field(ge=-100, le=100)]
_Stop = Annotated[str, Field(max_length=1000)]


class StreamOptions(BaseModel):
    """What a stream has besides its text."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    include_usage: bool = False


class Fields(BaseModel):
    """The fields that all doors of /v1 share. None: nothing was said."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    instead: ClassVar[Mapping[str, str]] = INSTEAD

    model: str | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1000)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=1, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, _Bias] | None = Field(None, max_length=1024)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    n: int = Field(1, ge=1)
    stop: str | list[_Stop] | None = None
    max_tokens: int | None = Field(None, ge=-1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, Annotated[str, Field(max_length=512)]] | None = Field(None, max_length=16)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Without the fields that this door refuses."""
        found = handler(schema)
        for name in cls.instead:
            handler.resolve_ref_schema(found)["properties"].pop(name, None)
        return found

    @field_validator("logit_bias")
    @classmethod
    def _require_ids(cls, bias: dict[str, float] | None) -> dict[str, float] | None:
        if bias and not all(name.isascii() and name.isdigit() and len(name) < 9 for name in bias):
            raise ValueError("no token id")
        return bias

    @field_validator("metadata")
    @classmethod
    def _require_short_names(cls, metadata: dict[str, str] | None) -> dict[str, str] | None:
        if metadata and any(len(name) > 64 for name in metadata):
            raise ValueError("a long name")
        return metadata

    @property
    def stops(self) -> list[str]:
        """The strings before which the text ends. Raises InvalidRequest for too many."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        found = [each for each in given if each]
        if len(found) > MOST_STOPS or any(len(each) > 1000 for each in found):
            raise InvalidRequest([FieldError("stop", RIGHT["stop"])])
        return found

    @property
    def format(self) -> Any:
        """What form the text must have; None for any."""
        return format_of(self.response_format)

    @property
    def private(self) -> dict[str, Any]:
        """What is recorded of the caller."""
        told = {name: getattr(self, name) for name in RECORDED}
        return {name: value for name, value in told.items() if value is not None}

    @property
    def wants_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, defaults: Mapping[str, float]) -> dict[str, Any]:
        """The parameters of a request: what was said, else the model's defaults, else OpenAI's."""
        neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
        said = {name: getattr(self, name) for name in (*neutral, "min_p")}
        values = {**neutral, **defaults, **{k: v for k, v in said.items() if v is not None}}
        values["top_k"] = max(0, values["top_k"])
        if values["top_p"] == 0:
            values |= {"temperature": 0.0, "top_p": 1.0}
        return values | {
            "frequency_penalty": self.frequency_penalty or 0.0,
            "presence_penalty": self.presence_penalty or 0.0,
            "logit_bias": {int(name): bias for name, bias in (self.logit_bias or {}).items()},
            "stop": self.stops,
            "response_format": self.format,
        }

    def seeds(self, count: int) -> list[int | None]:
        """One for each choice: the one that was given, and those after it."""
        if self.seed is None or self.seed == -1:
            return [None] * count
        return [(self.seed + index) % (MAX_SEED + 1) for index in range(count)]


FieldsT = TypeVar("FieldsT", bound=Fields)


def read(
    data: Mapping[str, Any], kind: type[FieldsT], right: Mapping[str, str]
) -> tuple[FieldsT, tuple[str, ...]]:
    """The fields of a body, and the names of those that are ignored.

    Raises InvalidRequest, which says for every wrong field what would be right.
    """
    given = {name: value for name, value in data.items() if value is not None}
    ignored = []
    for name in given:
        if why := kind.instead.get(_as_ours(name)):
            raise InvalidRequest([FieldError(name, f"is no field of this request; {why}")])
    for name in [each for each in given if each not in kind.model_fields]:
        value = given.pop(name)
        if name in NEUTRAL:
            is_neutral, why = NEUTRAL[name]
            if not is_neutral(value):
                raise Unsupported([FieldError(name, why)])
        else:
            _refuse_misspelling(name, kind)
            ignored.append(printable(name))
    try:
        return kind.model_validate(given), tuple(ignored)
    except ValidationError as error:
        raise InvalidRequest(in_our_words(field_errors(error), {**RIGHT, **right})) from None


#: These are the heart of another route's request.
_ELSEWHERE = {
    "prompt": "/v1/completions",
    "messages": "/v1/chat/completions",
    "input": "/v1/responses",
}


def _refuse_misspelling(name: str, kind: type[Fields]) -> None:
    if name in WITHOUT_EFFECT:
        return
    if name in _ELSEWHERE:
        message = f"is no field of this request; POST it to {_ELSEWHERE[name]}"
        raise InvalidRequest([FieldError(name, message)])
    for meant in get_close_matches(_as_ours(name), kind.model_fields, n=1, cutoff=0.85):
        message = f"is no field of this request; {meant} may be meant"
        raise InvalidRequest([FieldError(printable(name), message)])


def _as_ours(name: str) -> str:
    """`maxTokens` and `max-tokens` are meant as `max_tokens`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name[:64]).replace("-", "_").lower()


Role = Literal["system", "developer", "user", "assistant", "tool"]
