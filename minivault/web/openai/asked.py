"""What one request over /v1 comes to: the texts that are to be made, and how they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from minivault.backends.base import ModelInfo
from minivault.errors import FieldError, InvalidRequest, UnknownModel
from minivault.schemas import field_errors
from minivault.text_request import Call, TextRequest
from minivault.web.openai.complaints import RIGHT


@dataclass(frozen=True, slots=True)
class Choice:
    """One text: the request for it, and how it came."""

    request: TextRequest
    call: Call


@dataclass(frozen=True, slots=True)
class Asked:
    """All choices of a request. `echo`: the prompt is told before each text."""

    choices: Sequence[Choice]
    stream: bool
    wants_usage: bool
    ignored: tuple[str, ...]
    echo: bool = False


def check_model(wanted: str | None, info: ModelInfo, aliases: Sequence[str]) -> None:
    """Raises UnknownModel where another model is asked for than the one that serves."""
    if wanted in (None, "", info.name, *aliases) or "*" in aliases:
        return
    raise UnknownModel(
        f"The model asked for does not exist here: {info.name} serves (GET /v1/models). Ask for it "
        "by that name or by none, or start the server with --model-alias NAME"
    )


def check_count(count: int, most: int) -> None:
    """Raises InvalidRequest for more choices than one request may ask for."""
    if count > most:
        message = f"must be at most {most} (--max-choices), counted over all prompts, not {count}"
        raise InvalidRequest([FieldError("n", message)])


def text_request(values: dict[str, Any]) -> TextRequest:
    """The request for one text. Raises InvalidRequest."""
    try:
        return TextRequest.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest(field_errors(error, RIGHT)) from None


def limit(named: Sequence[int | None], default: int, context: int) -> int:
    """How many tokens to make at most: the smallest number that was named; -1 is no limit."""
    numbers = [context if number == -1 else number for number in named if number is not None]
    return min(numbers, default=default)


def key_of(header: str | None, index: int) -> str | None:
    """The name of a choice's request, of an Idempotency-Key of any form."""
    if not header:
        return None
    return sha256(f"idempotency {index} {header}".encode("utf-8", "surrogateescape")).hexdigest()
