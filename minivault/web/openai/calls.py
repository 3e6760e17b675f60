"""`tools` and `tool_choice`: which functions the model may ask its client to call."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from minivault.errors import FieldError, InvalidRequest, Unsupported
from minivault.text_request import Tool, Tools
from minivault.web.openai.fields import Fields

MOST_TOOLS = 128
MOST_NESTED = 200
"""Objects and lists in each other: what writes and reads them further on goes little deeper."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CHOICES = ("auto", "none", "required")
_NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}

_EXAMPLE = '{"type": "function", "function": {"name": "add", "parameters": {…}}}'
_TOOL = f"must be an object such as {_EXAMPLE}"
_CHOICE = (
    'must be "auto", "none", "required", or {"type": "function", "function": {"name": "…"}} with '
    "the name of one of the tools"
)
RIGHT = {
    "tools": f"must be a list of up to {MOST_TOOLS} functions such as {_EXAMPLE}",
    "tool_choice": _CHOICE,
    "parallel_tool_calls": "must be true or false",
    "chat_template_kwargs": 'must be an object such as {"enable_thinking": false}',
}
#: What a chat template is told of the request itself, and why it cannot be told otherwise.
_RESERVED = {
    "tools": "goes as tools",
    "messages": "goes as the messages of the request",
    "add_generation_prompt": "follows from the last message: an answer begins behind a user's",
    "now": "is told by the server",
}


class CallingFields(Fields):
    """The fields of doors at which functions may be called."""

    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool = True
    chat_template_kwargs: dict[str, Any] | None = None

    @property
    def calling(self) -> dict[str, Any]:
        """What a request has of it. Raises InvalidRequest."""
        told = self.chat_template_kwargs or {}
        for name, why in _RESERVED.items():
            if told.get(name) is not None:
                raise InvalidRequest([FieldError(f"chat_template_kwargs.{name}", why)])
        check_writable("chat_template_kwargs", told)
        return {
            "tools": tools_of(self.tools or [], self.tool_choice, self.parallel_tool_calls),
            "template": told or None,
        }


def tools_of(
    given: Sequence[Mapping[str, Any]], choice: str | Mapping[str, Any] | None, parallel: bool
) -> Tools | None:
    """The functions that may be called; None for no calls. Raises InvalidRequest.

    A response describes a function beside its type, the other door in an object of its own.
    """
    if len(given) > MOST_TOOLS:
        raise InvalidRequest([FieldError("tools", RIGHT["tools"])])
    offered = [_tool(f"tools.{number}", each) for number, each in enumerate(given)]
    names = [each.name for each in offered]
    for number, name in enumerate(names):
        if name in names[:number]:
            message = "is the name of an earlier one too; each needs its own"
            raise InvalidRequest([FieldError(f"tools.{number}.name", message)])
    chosen = _chosen(choice, names)
    if chosen == "none" or not offered:
        return None
    return Tools(offered=offered, choice=chosen, parallel=parallel)


def _tool(place: str, given: Mapping[str, Any]) -> Tool:
    if (kind := given.get("type", "function")) != "function":
        message = 'must be "function": this server runs no tools of its own'
        raise Unsupported([FieldError(f"{place}.type", message if kind else _TOOL)])
    told = given.get("function", given)
    if not isinstance(told, dict):
        raise InvalidRequest([FieldError(f"{place}.function", _TOOL)])
    name, about, schema = (told.get(each) for each in ("name", "description", "parameters"))
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _CHOICES:
        message = "must be a name of 1 to 64 letters, digits, _, . or -, and none of tool_choice's"
        raise InvalidRequest([FieldError(f"{place}.name", message)])
    if not isinstance(about, str | None):
        raise InvalidRequest([FieldError(f"{place}.description", "must be a string")])
    if not isinstance(schema, dict | None):
        message = 'must be a JSON schema such as {"type": "object", "properties": {…}}'
        raise InvalidRequest([FieldError(f"{place}.parameters", message)])
    check_writable(f"{place}.description", about)
    check_writable(f"{place}.parameters", schema)
    return Tool(name=name, description=about, parameters=schema or _NOTHING)


def _chosen(choice: str | Mapping[str, Any] | None, names: Sequence[str]) -> str:
    wrong = InvalidRequest([FieldError("tool_choice", _CHOICE)])
    if choice is None or choice in ("auto", "none"):
        return str(choice or "auto")
    if not names:
        message = "asks for a call, but there are no tools; send them, or leave it out"
        raise InvalidRequest([FieldError("tool_choice", message)])
    if choice == "required":
        return choice
    if isinstance(choice, str) or choice.get("type") != "function":
        raise wrong
    told = choice.get("function", choice)
    name = told.get("name") if isinstance(told, dict) else None
    if name not in names:
        raise wrong
    return str(name)


def earlier_call(place: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A call that an earlier answer made, as chat templates get it. Raises InvalidRequest."""
    function = given.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        message = (
            'must be an object such as {"id": "…", "function": {"name": "…", "arguments": "…"}}'
        )
        raise InvalidRequest([FieldError(place, message)])
    try:
        arguments = function.get("arguments") or "{}"
        read = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        message = "must be a JSON object, written as a string"
        raise InvalidRequest([FieldError(f"{place}.function.arguments", message)])
    check_writable(f"{place}.function.arguments", read)
    check_writable(f"{place}.function.name", name)
    id = given.get("id")
    check_writable(f"{place}.id", id)
    told = {"type": "function", "function": {"name": name, "arguments": read}}
    return {"id": id, **told} if isinstance(id, str) else told


def check_writable(place: str, value: Any) -> None:
    """Raises InvalidRequest for what is JSON, but no text in UTF-8, or nested without measure."""
    level, depth = [value], 0
    while level := [each for outer in level for each in _inside(outer)]:
        depth += 1
        if depth > MOST_NESTED:
            message = f"is nested too deep: at most {MOST_NESTED} objects and lists in each other"
            raise InvalidRequest([FieldError(place, message)])
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        message = "holds half of a surrogate pair, which is no character"
        raise InvalidRequest([FieldError(place, message)]) from None


def _inside(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
