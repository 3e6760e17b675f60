"""The grammar of answers that call functions, as llguidance reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minivault.engine.chat.parameters import MOST, TooMany, branches, types_of

MOST_CALLS = 16
"""In one answer."""


class BadSchema(ValueError):
    """The schema cannot be followed. The message says why, on one line."""


def call_grammar(
    format: Mapping[str, Any], form: Mapping[str, Any], special: Mapping[str, int]
) -> str:
    """What may be written: calls alone where one must be made, else text with calls in it.

    `format`: see `Tokenizer.call_format`. `form`: how JSON is to be written. `special`: the ids of
    those of its `marks` that are tokens of their own, which no letters make up. Each function's
    schema is a root of its own, so that its references hold. Raises BadSchema.
    """
    begin, text, style = format["begin"], format.get("text"), format.get("style", "json")
    marks = {each: special[each] for each in format.get("marks", ()) if each in special}
    names = [f"call{number}" for number in range(len(format["tools"]))]
    rules = [f"call: {' | '.join(names)}", _text(marks)]
    if tags := format.get("tags"):
        rules += [_until("words", tags["end"].strip(), marks)]
    for name, tool in zip(names, format["tools"], strict=True):
        if tags:
            rules += _tagged_call(name, tool, tags, format["end"], form, marks)
        else:
            rules.append(f"{name}: {_call(tool, format, form, marks)}")
    opened = f"{_literal(begin, marks)} call" if style != "bare" else "call"
    again = {"list": '", " call', "json": f'"\\n" {opened}'}.get(style, opened)
    more = f" ({again}){{0,{MOST_CALLS - 1}}}" if format["parallel"] and style != "bare" else ""
    closed = ' "]"' if style == "list" else ""
    if format["choice"] != "auto":
        answer = opened + (more if format["choice"] == "required" else "") + closed
    elif text:
        answer = f"{opened}{more}{closed} | {_schema(schema_of(text), form)}"
    elif style == "bare":
        rules.append(f"FREE: TEXT & ~/{_bare_head(format['tools'])}(.|\\n)*/")
        answer = "call | FREE"
    else:
        rules += _told(begin, marks, f"{more}{closed}" if style == "list" else "")
        several = format["parallel"] and style != "list"
        answer = f"told{{0,{MOST_CALLS}}} TEXT" if several else "told | TEXT"
    if format.get("thinking"):
        rules += [_until("thought", "</think>", marks)]
        answer = f'thought "\\n\\n" ({answer})'
    return "\n".join(["%llguidance {}", f"start: {answer}", *rules, ""])


def _text(marks: Iterable[str]) -> str:
    """Any text that does not spell a mark in letters: it would be read as one, and held to nothing.

    What the prompt quotes, and the model repeats, is spelled so.
    """
    spelled = "|".join(re.escape(each).replace("/", r"\/") for each in marks)
    return r"TEXT: /(.|\n)*/" + (rf" & ~/(.|\n)*({spelled})(.|\n)*/" if spelled else "")


def _literal(text: str, marks: Mapping[str, int]) -> str:
    """A text as grammars have it, the special tokens in it by their ids."""
    longest = sorted(marks, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, longest))})", text) if marks else [text]
    told = (f"<[{marks[each]}]>" if each in marks else json.dumps(each) for each in parts if each)
    return " ".join(told)


def _until(rule: str, mark: str, marks: Mapping[str, int]) -> str:
    """The rule of a text that ends with the first mark."""
    return f"{rule}{'' if mark in marks else '[lazy]'}: TEXT {_literal(mark, marks)}"


def _told(begin: str, marks: Mapping[str, int], more: str) -> list[str]:
    """The rules of a text with a call behind it: nothing else follows the first trigger."""
    in_letters = begin.rstrip().removesuffix("[").rstrip()  # as far as it is always written so
    trigger = next((each for each in marks if begin.startswith(each)), in_letters)
    after = _literal(begin[len(trigger) :], marks)
    return [_until("trigger", trigger, marks), f"told: trigger {after} call{more}"]


def _call(
    tool: Mapping[str, Any],
    format: Mapping[str, Any],
    form: Mapping[str, Any],
    marks: Mapping[str, int],
) -> str:
    """A function's name and arguments, and what stands around them."""
    style, key, end = format.get("style", "json"), format.get("key", "arguments"), format["end"]
    schema = _schema(tool["parameters"], form)
    if style == "bare":
        return f"/{_bare_head([tool])}\\s*/ {schema} /\\s*\\}}\\s*/"
    if style == "named":
        head = _literal(f"{tool['name']}{format['named']}", marks)
        return f"{head} {schema} {_literal(end, marks)}"
    head = json.dumps(f'{{"name": {json.dumps(tool["name"], ensure_ascii=False)}, "{key}": ')
    id = ' (", \\"id\\": \\"" /[a-zA-Z0-9]{9}/ "\\"")?' if style == "list" else ""
    return f"{head} {schema}{id} {_literal('}' + end, marks)}"


def _bare_head(tools: Iterable[Mapping[str, Any]]) -> str:
    """The regular expression of what is read as a call of one of these, up to its arguments."""
    names = "|".join(re.escape(each["name"]) for each in tools)
    return rf'\s*\{{\s*"name"\s*:\s*"({names})"\s*,\s*"(arguments|parameters)"\s*:'


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
    marks: Mapping[str, int],
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
        head = _literal(f"{tags['begin']}{key}{tags['value']}", marks)
        try:
            found = branches(schema, root, left)
            left -= len(found)
            yield f"{part}: {head} {_tagged_value(schema, found, root, tags['end'], form, marks)}"
        except (BadSchema, TooMany) as error:
            raise BadSchema(f"the parameters of {name}: {key}: {error}") from error
    head = _literal(f"{name}{tags['named']}", marks)
    yield " ".join([f"{rule}:", head, *parts, _literal(end, marks)])


def _tagged_value(
    schema: Any,
    found: list[dict[str, Any]],
    root: Mapping[str, Any],
    end: str,
    form: Mapping[str, Any],
    marks: Mapping[str, int],
) -> str:
    """A value with what closes its tag; `found` are the branches of its schema."""
    types = types_of(found)
    if types and "string" not in types:
        shared = {name: root[name] for name in ("$defs", "definitions") if name in root}
        return f"{_schema({**shared, **schema}, form)} {_literal(end, marks)}"
    values: list[Any] = []
    leaves = [each for each in found if not each.keys() & _JOINS]
    for each in leaves:
        if asked := [name for name in _OF_TEXT if name in each]:
            raise BadSchema(f"{asked[0]} cannot be followed where a text stands in tags")
        values += [each["const"]] if "const" in each else each.get("enum", [])
        values += [None] if each.get("type") == "null" else []
    if all({"const", "enum"} & each.keys() or each.get("type") == "null" for each in leaves):
        written = [each if isinstance(each, str) else json.dumps(each) for each in values]
        return f"({' | '.join(map(json.dumps, written))}) {_literal(end, marks)}"
    behind = end.partition(end.strip())[2]
    return f"words {_literal(behind, marks)}" if behind else "words"
