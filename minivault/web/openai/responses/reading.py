"""POST /v1/responses: what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minivault.backends.base import ModelInfo
from minivault.errors import FieldError, InvalidRequest, Unsupported
from minivault.parsing import parse_object
from minivault.schemas import field_errors
from minivault.text_request import Call, TextRequest, Turn
from minivault.web.openai.asked import key_of, text_request
from minivault.web.openai.calls import RIGHT as CALLS
from minivault.web.openai.calls import CallingFields, earlier_call
from minivault.web.openai.chat import Said, turns_of
from minivault.web.openai.fields import INSTEAD, read
from minivault.web.openai.formats import format_of

DOOR = "openai.responses"
MOST_FIELDS = 1024
LOGPROBS = "message.output_text.logprobs"

_INPUT = "must be a string, or a list of 1 to 1000 items, each with a role and a content"
_RIGHT = {
    **CALLS,
    "input": _INPUT,
    "instructions": "must be a string",
    "previous_response_id": "must be the id of a response",
    "background": "must be true or false",
    "include": "must be a list of strings",
    "text": 'must be an object such as {"format": {"type": "text"}}',
}


_OWN = ("text", "max_output_tokens")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_new_tokens", "max_length", "n_predict")


class TextOptions(BaseModel):
    """What form the text has."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    format: dict[str, Any] | None = None
    verbosity: str | None = None


class ResponseFields(CallingFields):
    """The body."""

    instead = {
        **{name: why for name, why in INSTEAD.items() if name not in _OWN},
        **dict.fromkeys(_LIMITS, "max_output_tokens says how long the text may be"),
        "response_format": "text.format says what form the text must have",
        "system": "instructions are meant",
    }

    input: str | list[dict[str, Any]] = Field(min_length=1, max_length=4_000_000)
    instructions: str | None = None
    previous_response_id: str | None = Field(None, max_length=100)
    background: bool = False
    max_output_tokens: int | None = Field(None, ge=1)
    include: list[str] | None = None
    text: TextOptions | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def format(self) -> Any:
        return format_of(self.text.format if self.text else None, "text.format")


def read_response(body: bytes) -> tuple[ResponseFields, tuple[str, ...]]:
    """The fields, and the names of those without effect. Raises a MiniVaultError."""
    right = 'the body must be a JSON object such as {"input": "Hello"}'
    fields, ignored = read(parse_object(body, right, MOST_FIELDS), ResponseFields, _RIGHT)
    if fields.n != 1:
        raise InvalidRequest([FieldError("n", "must be 1: a response is one answer")])
    return fields, ignored


def request_of(
    fields: ResponseFields, before: Sequence[Turn], info: ModelInfo, key: str | None
) -> TextRequest:
    """The request for its text; `before` is the conversation that it goes on with."""
    instructions = [Turn(role="system", content=fields.instructions)] if fields.instructions else []
    most = info.context_length
    (seed,) = fields.seeds(1)
    return text_request(
        fields.sampling(info.defaults)
        | fields.calling
        | {
            "turns": [*instructions, *before, *input_of(fields.input)],
            "max_tokens": most if fields.max_output_tokens is None else fields.max_output_tokens,
            "logprobs": LOGPROBS in (fields.include or ()) or bool(fields.top_logprobs),
            "top_logprobs": fields.top_logprobs or 0,
            "seed": seed,
            "key": key_of(key, 0),
        }
    )


def call_of(fields: ResponseFields, ignored: tuple[str, ...]) -> Call:
    """How it came; enough to tell the response again."""
    told = {
        "instructions": fields.instructions,
        "previous_response_id": fields.previous_response_id,
        "background": fields.background or None,
        "max_output_tokens": fields.max_output_tokens,
    }
    private = fields.private | {name: each for name, each in told.items() if each is not None}
    return Call(DOOR, 0, None, ignored, private)


def input_of(given: str | Sequence[Mapping[str, Any]]) -> list[Turn]:
    """The messages of an input. Raises InvalidRequest."""
    if isinstance(given, str):
        return [Turn(role="user", content=given)]
    turns: list[Turn] = []
    for number, item in enumerate(given):
        kind = item.get("type", "message")
        if kind == "reasoning":
            continue  # it is not read again
        if kind == "function_call":
            _add_call(turns, f"input.{number}", item)
        elif kind == "function_call_output":
            id, output = item.get("call_id"), item.get("output")
            if isinstance(output, list):
                (turn,) = _message(number, {"role": "tool", "content": output})
                output = turn.content
            if not isinstance(output, str):
                raise InvalidRequest([FieldError(f"input.{number}.output", "must be a string")])
            id = id if isinstance(id, str) else None
            turns.append(Turn(role="tool", content=output, tool_call_id=id))
        elif kind == "message":
            turns += _message(number, item)
        else:
            message = 'must be "message", "function_call" or "function_call_output"'
            raise Unsupported([FieldError(f"input.{number}.type", message)])
    if not turns:
        raise InvalidRequest([FieldError("input", _INPUT)])
    return turns


def _add_call(turns: list[Turn], place: str, item: Mapping[str, Any]) -> None:
    """Calls of one answer are one turn, with the words that stand before them."""
    function = {name: item.get(name) for name in ("name", "arguments")}
    call = earlier_call(place, {"id": item.get("call_id"), "function": function})
    if turns and turns[-1].role == "assistant":
        last = turns.pop()
        turns.append(last.model_copy(update={"tool_calls": [*(last.tool_calls or ()), call]}))
    else:
        turns.append(Turn(role="assistant", tool_calls=[call]))


def _message(number: int, item: Mapping[str, Any]) -> list[Turn]:
    try:
        said = Said.model_validate({k: v for k, v in item.items() if v is not None})
        return turns_of([said])
    except ValidationError as error:
        wrong = field_errors(error)[0].field.split(".")[0]
        right = {"role": "must be system, developer, user or assistant"}
        sentence = right.get(wrong, "must be a string, or a list of parts of type input_text")
        raise InvalidRequest([FieldError(f"input.{number}.{wrong}", sentence)]) from None
    except InvalidRequest as error:
        moved = [
            FieldError(each.field.replace("messages.0", f"input.{number}", 1), each.message)
            for each in error.errors
        ]
        raise type(error)(moved) from None
