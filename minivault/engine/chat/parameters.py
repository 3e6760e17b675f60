"""What the parameters of a function may be, by its JSON schema, for calls that write them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array"}
_NAMES |= {dict: "object", type(None): "null"}
_UNIONS = ("anyOf", "oneOf", "allOf")
_LAYERS = 32  # references and unions in each other


def branches(schema: Any, root: Mapping[str, Any], left: int = _LAYERS) -> Iterator[dict[str, Any]]:
    """A schema and all that it is put together from, without what its references stand for twice.

    `root`: where references begin. One that leads nowhere is left out.
    """
    if not isinstance(schema, dict) or not left:
        return
    yield schema
    if isinstance(schema.get("$ref"), str):
        yield from branches(_found(schema["$ref"], root), root, left - 1)
    for union in _UNIONS:
        listed = schema.get(union)
        for each in listed if isinstance(listed, list) else ():
            yield from branches(each, root, left - 1)


def types_of(schema: Any, root: Mapping[str, Any]) -> list[str]:
    """The JSON types of its values, as far as it names them; none where they may be anything."""
    found: dict[str, None] = {}
    for each in branches(schema, root):
        declared = each.get("type")
        named = [declared] if isinstance(declared, str) else declared
        if not isinstance(named, list):
            listed = each.get("enum") if isinstance(each.get("enum"), list) else []
            values = [each["const"]] if "const" in each else listed or []
            named = [_NAMES[type(value)] for value in values]
        found |= dict.fromkeys(str(name) for name in named)
    return list(found)


def typed(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A function as response parsers read its calls: each parameter with the types of its values.

    They look for `type` alone, and follow no references.
    """
    function = tool["function"]
    root = function["parameters"]
    properties = root.get("properties")
    if not isinstance(properties, dict):
        return dict(tool)
    told = {name: {"type": types_of(each, root)} for name, each in properties.items()}
    return {**tool, "function": {**function, "parameters": {**root, "properties": told}}}


def _found(reference: str, root: Mapping[str, Any]) -> Any:
    """What `#/$defs/name` stands for."""
    place: Any = root
    if not reference.startswith("#"):
        return None
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        place = place.get(step) if isinstance(place, dict) else None
    return place
