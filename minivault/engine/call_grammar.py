"""The grammar of answers that call functions, as llguidance reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_CALLS = 16
"""In one answer."""


def call_grammar(format: Mapping[str, Any], form: Mapping[str, Any]) -> str:
    """What may be written: calls alone where one must be made, else text with calls in it.

    `format`: see `Tokenizer.call_format`. `form`: how JSON is to be written. Each function's schema
    is a root of its own, so that its references hold.
    """
    begin, end, text = format["begin"], format["end"], format.get("text")
    trigger = begin.rstrip()
    names = [f"call{number}" for number in range(len(format["tools"]))]
    rules = [f"call: {' | '.join(names)}", "TEXT: /(.|\\n)*/"]
    for name, tool in zip(names, format["tools"], strict=True):
        head = f'{{"name": {json.dumps(tool["name"], ensure_ascii=False)}, "arguments": '
        schema = json.dumps({**tool["parameters"], "x-guidance": form})
        rules.append(f"{name}: {json.dumps(head)} %json {schema} {json.dumps('}' + end)}")
    written = f"{json.dumps(begin)} call"
    more = f' ("\\n" {written}){{0,{MOST_CALLS - 1}}}' if format["parallel"] else ""
    if format["choice"] != "auto":
        several = more if format["choice"] == "required" else ""
        answer = written + several
    elif text:
        schema = json.dumps({**_schema(text), "x-guidance": form})
        answer = f"{written}{more} | %json {schema}"
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


def _schema(text: Mapping[str, Any]) -> dict[str, Any]:
    schema = text["schema"] if text["type"] == "json_schema" else {"type": "object"}
    return schema if isinstance(schema, dict) else {"type": "object"}
