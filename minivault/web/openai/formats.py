"""`response_format`, and `text.format` of a response: what form a text must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.errors import FieldError, InvalidRequest

RIGHT = (
    'must be {"type": "text"}, {"type": "json_object"}, or {"type": "json_schema", '
    '"json_schema": {"name": "…", "schema": {…}}}'
)


def format_of(given: Mapping[str, Any] | None, field: str = "response_format") -> Any:
    """The format as a request has it; None for plain text. Raises InvalidRequest.

    A response tells the schema beside the type, the other doors in an object of its own.
    """
    kind = "text" if given is None else given.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "json_object"}
    if kind != "json_schema" or given is None:
        raise InvalidRequest([FieldError(f"{field}.type", RIGHT)])
    told = given.get("json_schema", given)
    schema = told.get("schema") if isinstance(told, dict) else None
    if not isinstance(schema, dict | bool):
        message = f"Invalid schema for response_format: it {RIGHT}"
        raise InvalidRequest([FieldError(field, message)])
    return {"type": "json_schema", "schema": schema}
