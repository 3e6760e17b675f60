"""The grammar of answers that call functions, as llguidance reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from minivault.engine.chat.parameters import MOST, TooMany, branches, types_of

MOST_CALLS = 16
"""In one answer."""


class BadSchema(ValueError):
    """The schema cannot be followed. The message says why, on one line."""


def call_grammar(format: Mapping[str, Any], form: Mapping[str, Any]) -> str:
    """What may be written: calls alone where one must be made, else text with calls in it.

    `format`: see `Tokenizer.call_format`. `form`: how JSON is to be written. Each function's schema
    is a root of its own, so that its references hold. Raises BadSchema.
    """
    begin, end, text = format["begin"], format["end"], format.get("text")
    trigger = begin.rstrip()
    names = [f"call{number}" for number in range(len(format["tools"]))]
    rules = [f"call: {' | '.join(names)}", "TEXT: /(.|\\n)*/"]
    if tags := format.get("tags"):
        rules += [f"words[lazy]: TEXT {json.dumps(tags['end'].strip())}"]
    for name, tool in zip(names, format["tools"], strict=True):
        if tags:
            rules += _tagged_call(name, tool, tags, end, form)
        else:
            head = f'{{"name": {json.dumps(tool["name"], ensure_ascii=False)}, "arguments": '
            schema = _schema(tool["parameters"], form)
            rules.append(f"{name}: {json.dumps(head)} {schema} {json.dumps('}' + end)}")
    written = f"{json.dumps(begin)} call"
    more = f' ("\\n" {written}){{0,{MOST_CALLS - 1}}}' if format["parallel"] else ""
    if format["choice"] != "auto":
        several = more if format["choice"] == "required" else ""
        answer = written + several
    elif text:
        answer = f"{written}{more} | {_schema(schema_of(text), form)}"
    else:
        # A lazy rule ends with the first trigger: nothing but a call follows it.
        rules += [f"trigger[lazy]: TEXT {json.dumps(trigger)}"]
        after = json.dumps(begin[len(trigger) :]) if begin != trigger else ""
        rules += [f"told: trigger {after} call"]
        answer = f"told{{0,{MOST_CALLS}}} TEXT" if format["parallel"] else "told | TEXT"
    if format.get("thinking"):
        rules += ['thought[lazy]: TEXT "</think>"']
        answer = f'thought "\\n\\n" ({answer})'
    return "\n".join(["%llguidance {}", f"start: {answer}", *rules, ""])


def schema_of(format: Mapping[str, Any]) -> Any:
    """The schema of a text that is to be JSON."""
    return format["schema"] if format["type"] == "json_schema" else {"type": "object"}


def _schema(schema: Any, form: Mapping[str, Any]) -> str:
    told = {**(schema if isinstance(schema, dict) else {"type": "object"}), "x-guidance": form}
    return f"%json {json.dumps(told)}"


# ---- calls whose parameters stand in tags --------------------------------------------------------

_OBJECT = {"type", "properties", "required", "additionalProperties", "$defs", "definitions"}
_OBJECT |= {"title", "description", "$schema", "$id", "$comment", "examples", "default"}
_JOINS = {"$ref", "anyOf", "oneOf", "allOf"}
_OF_TEXT = ("pattern", "format", "minLength", "maxLength")


def _tagged_call(
    rule: str,
    tool: Mapping[str, Any],
    tags: Mapping[str, str],
    end: str,
    form: Mapping[str, Any],
) -> Iterator[str]:
    """The rules of a function whose parameters come one by one, in the order of its schema.

    Texts stand in their tags as they are, all else as JSON.
    """
    root, name = tool["parameters"], tool["name"]
    properties = root.get("properties", {})
    if other := sorted(root.keys() - _OBJECT):
        raise BadSchema(
            f"the parameters of {name}: {other[0]} cannot be followed at the top: this model "
            "writes each of the properties in tags of its own"
        )
    required, parts, left = root.get("required", []), [], MOST
    if missing := [each for each in required if each not in properties]:
        raise BadSchema(f"the parameters of {name}: {missing[0]} is required and not described")
    for number, (key, schema) in enumerate(properties.items()):
        if not key or any(letter in "<>" or letter.isspace() for letter in key):
            raise BadSchema(f"the parameters of {name}: {key!r} cannot stand in this model's tags")
        part = f"{rule}p{number}"
        parts.append(part if key in required else f"{part}?")
        head = json.dumps(f"{tags['begin']}{key}{tags['value']}")
        try:
            found = branches(schema, root, left)
            left -= len(found)
            yield f"{part}: {head} {_tagged_value(schema, found, root, tags['end'], form)}"
        except (BadSchema, TooMany) as error:
            raise BadSchema(f"the parameters of {name}: {key}: {error}") from error
    head = json.dumps(f"{name}{tags['named']}")
    yield " ".join([f"{rule}:", head, *parts, json.dumps(end)])


def _tagged_value(
    schema: Any,
    found: list[dict[str, Any]],
    root: Mapping[str, Any],
    end: str,
    form: Mapping[str, Any],
) -> str:
    """A value with what closes its tag; `found` are the branches of its schema."""
    types = types_of(found)
    if types and "string" not in types:
        shared = {name: root[name] for name in ("$defs", "definitions") if name in root}
        return f"{_schema({**shared, **schema}, form)} {json.dumps(end)}"
    values: list[Any] = []
    leaves = [each for each in found if not each.keys() & _JOINS]
    for each in leaves:
        if asked := [name for name in _OF_TEXT if name in each]:
            raise BadSchema(f"{asked[0]} cannot be followed where a text stands in tags")
        values += [each["const"]] if "const" in each else each.get("enum", [])
        values += [None] if each.get("type") == "null" else []
    if all({"const", "enum"} & each.keys() or each.get("type") == "null" for each in leaves):
        written = [each if isinstance(each, str) else json.dumps(each) for each in values]
        return f"({' | '.join(map(json.dumps, written))}) {json.dumps(end)}"
    behind = end.partition(end.strip())[2]
    return f"words {json.dumps(behind)}" if behind else "words"
