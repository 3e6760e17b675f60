"""What the parameters of a function may be, by its JSON schema, for calls that write them apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}
_NAMES |= {dict: "object", type(None): "null"}
_UNIONS = ("anyOf", "oneOf", "allOf")

MOST = 10_000
"""Schemas that are looked at: references can make many of few."""


class TooMany(ValueError):
    """There are more schemas than are looked at."""


def branches(schema: Any, root: Mapping[str, Any], most: int = MOST) -> list[dict[str, Any]]:
    """A schema and all that it is put together from, each once.

    `root`: where references begin. One that leads nowhere is left out. Raises TooMany.
    """
    found: dict[int, dict[str, Any]] = {}
    left = [schema]
    while left:
        each = left.pop()
        if not isinstance(each, dict) or id(each) in found:
            continue
        if len(found) == most:
            raise TooMany(f"it is put together from more than {MOST} schemas")
        found[id(each)] = each
        for union in reversed(_UNIONS):
            if isinstance(listed := each.get(union), list):
                left += reversed(listed)
        if isinstance(each.get("$ref"), str):
            left.append(_found(each["$ref"], root))
    return list(found.values())


def types_of(parts: Iterable[dict[str, Any]]) -> list[str]:
    """The JSON types of a value of these `branches`, as far as they name them; none for any."""
    found: dict[str, None] = {}
    for each in parts:
        declared = each.get("type")
        named = [declared] if isinstance(declared, str) else declared
        if not isinstance(named, list):
            listed = each.get("enum") if isinstance(each.get("enum"), list) else []
            values = [each["const"]] if "const" in each else listed or []
            named = [_NAMES[type(value)] for value in values]
        found |= dict.fromkeys(str(name) for name in named)
    return list(found)


def typed(tools: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Functions as response parsers read their calls: each parameter with the types of its values.

    They look for `type` alone, and follow no references. Functions beyond `MOST` schemas stay as
    they are.
    """
    left = MOST
    found = []
    for tool in tools:
        function, told = tool["function"], {}
        root = function["parameters"]
        properties = root.get("properties")
        try:
            for name, each in properties.items() if isinstance(properties, dict) else ():
                parts = branches(each, root, left)
                left -= len(parts)
                told[name] = {"type": types_of(parts)}
        except TooMany:
            told = {}
        typed_root = {**root, "properties": told} if told else root
        found.append({**tool, "function": {**function, "parameters": typed_root}})
    return found


def _found(reference: str, root: Mapping[str, Any]) -> Any:
    """What `#/$defs/name` stands for."""
    place: Any = root
    if not reference.startswith("#"):
        return None
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        place = place.get(step) if isinstance(place, dict) else None
    return place
