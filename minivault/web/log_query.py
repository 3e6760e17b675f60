"""What the addresses below /logs/records may say, and how a record looks in a list."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from minivault.errors import FieldError, InvalidRequest, NotFound
from minivault.schemas import Client, FinishReason, field_errors
from minivault.vault.record import Record
from minivault.vault.search import Query, questions
from minivault.web.operations import Parameter

EXCERPT = 240  # characters of prompt and response in a list
MAX_LIMIT = 200

_Time = Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2}(T\d{2}(:\d{2}(:\d{2})?)?)?)?)?$")]

Form = TypeVar("Form", bound=BaseModel)

SEQ = Parameter("seq", "path", "The record's sequence number.", {"type": "integer", "minimum": 1})


class RecordQuery(BaseModel):
    """Which records, newest first, and where to go on. All but `limit` and `before` filter."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    limit: int = Field(default=50, ge=1, le=MAX_LIMIT)
    before: int | None = Field(default=None, ge=1)
    q: str | None = Field(default=None, min_length=1, max_length=1000)
    finish_reason: FinishReason | None = None
    client: Client | None = None
    model: str | None = Field(default=None, min_length=1, max_length=200)
    since: _Time | None = None
    until: _Time | None = None

    def filter(self) -> Query | None:
        """What the vault's search looks for; None if everything is wanted."""
        query = Query(
            text=self.q,
            since=self.since,
            until=self.until,
            finish_reason=self.finish_reason,
            model=self.model,
            client=self.client,
        )
        return None if query == Query() else query


def read_query(request: Request, form: type[Form]) -> Form:
    """Raises InvalidRequest, which names the parameter."""
    pairs = request.query_params.multi_items()
    twice = next((name for name, times in Counter(n for n, _ in pairs).items() if times > 1), None)
    if twice:
        raise InvalidRequest([FieldError(twice[:64], "given more than once")])
    try:
        return form.model_validate(dict(pairs), strict=False)
    except ValidationError as error:
        raise InvalidRequest(field_errors(error)) from None


def seq_of(request: Request) -> int:
    """The sequence number in the path. Raises NotFound for what is none."""
    text: str = request.path_params["seq"]
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise NotFound("a record's number has only digits")
    return int(text)


def summary(record: Record) -> dict[str, Any]:
    """A record as a row of a list: the beginnings of its texts, and a few figures.

    Of a conversation it is the last question, and which turn that is: the prompts of a chat model
    all begin alike.
    """
    asked = questions(record)
    return {
        "seq": record.seq,
        "timestamp": record.timestamp,
        "prompt": _excerpt(asked[-1] if asked else record.prompt),
        "turn": len(asked) or None,
        "response": _excerpt(record.response),
        "finish_reason": record.finish_reason,
        "model": record.model.get("name"),
        "client": record.fields.get("client"),
        "completion_tokens": record.usage.get("completion_tokens"),
        "kind": _kind(record),
        "redacts": record.fields.get("redacts"),
        "replays": record.fields.get("replays"),
    }


def _kind(record: Record) -> str | None:
    """What is special about it; None for a prompt and its response."""
    if record.is_redaction:
        return "redaction"
    if record.is_redacted:
        return "redacted"
    return "withheld" if record.is_withheld else None


def _excerpt(text: str | None) -> str | None:
    return text if text is None or len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
