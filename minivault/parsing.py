"""Reads requests strictly: from a body, a query, or values that are typed already."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from minivault.errors import FieldError, InvalidRequest, MalformedRequest
from minivault.schemas import MAX_SEED, GenerateRequest, field_errors, printable

MOST_FIELDS = 64  # of one object, or parameters of a query: what has more was not meant
_NO_OBJECT = 'the body must be a JSON object such as {"prompt": "Hello"}'

#: What would be right in a field of a request; a test holds the numbers against the fields below.
_RIGHT = {
    "prompt": "must be a text of at least 1 character",
    "messages": "must be a list of 1 to 1000 messages, each with a role and a content",
    "messages.role": "must be system, user or assistant",
    "messages.content": "must be a text of at most 1000000 characters",
    "max_tokens": "must be a whole number, at least 1 and at most the model's context",
    "max_new_tokens": "must be a whole number, at least 1 and at most the model's context",
    "temperature": "must be a number from 0 to 2; 0 always takes the likeliest token",
    "top_k": "must be a whole number from 0 to 1000; 0 is off",
    "top_p": "must be a number above 0 and up to 1",
    "repetition_penalty": "must be a number from 1 to 2; 1 is off",
    "stop": "must be up to 8 strings of 1 to 1000 characters",
    "seed": f"must be a whole number from 0 to {MAX_SEED}",
    "top_logprobs": "must be a whole number from 0 to 20; 0 is off",
    "end_at_sentence": "must be true or false",
    "key": "must be 8 to 64 characters of A-Z, a-z, 0-9, _ and -",
}


def parse_body(body: bytes) -> GenerateRequest:
    """Reads a JSON body strictly: UTF-8, no duplicate keys, no NaN, no wrong types.

    Raises MalformedRequest for what is no JSON object, InvalidRequest for a wrong field.
    """
    return _validated(parse_object(body, _NO_OBJECT), strict=True)


def parse_object(body: bytes, right: str, most_fields: int = MOST_FIELDS) -> dict[str, Any]:
    """A JSON object in UTF-8, without duplicate keys; `right` says what would be one.

    Raises MalformedRequest, and InvalidRequest for a field that is given twice.
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) > most_fields:
            raise too_wide("request", len(pairs), "fields in one object", most_fields)
        result: dict[str, Any] = {}
        for name, value in pairs:
            if name in result:
                raise InvalidRequest([FieldError(printable(name), "given more than once")])
            result[name] = value
        return result

    try:
        data = json.loads(body.decode("utf-8"), object_pairs_hook=without_duplicates)
    except UnicodeDecodeError as error:
        raise MalformedRequest("the body must be JSON in UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(right) from error
    if not isinstance(data, dict):
        raise MalformedRequest(right)
    return data


def parse_query(pairs: list[tuple[str, str]]) -> GenerateRequest:
    """Reads query parameters; `stop` may repeat, nothing else may.

    Raises InvalidRequest, which names the field.
    """
    data: dict[str, Any] = {}
    for name, value in pairs:
        if name == "stop":
            data.setdefault("stop", []).append(value)
        elif name == "messages":
            raise InvalidRequest([FieldError("messages", "goes by POST as JSON, not in a query")])
        elif name in data:
            raise InvalidRequest([FieldError(name, "given more than once")])
        else:
            data[name] = value
    return _validated(data, strict=False)


def parse_parameters(data: dict[str, Any]) -> GenerateRequest:
    """Validates values that are typed already, as the command line has them."""
    return _validated(data, strict=True)


def _validated(data: dict[str, Any], *, strict: bool) -> GenerateRequest:
    if "max_tokens" in data and "max_new_tokens" in data:
        raise InvalidRequest(
            [FieldError("max_new_tokens", "is another name for max_tokens; give one of them")]
        )
    try:
        return GenerateRequest.model_validate(data, strict=strict)
    except ValidationError as error:
        raise InvalidRequest(field_errors(error, _RIGHT)) from None


def too_wide(field: str, count: int, what: str, most: int) -> InvalidRequest:
    """Refuses more than any request needs, before work is done for each."""
    return InvalidRequest([FieldError(field, f"has {count} {what}; at most {most} are read")])
