"""How a model writes its answers: what it thought, what it says, and which functions it calls."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

from minivault.backends.base import Reader, Rendered
from minivault.engine.chat.bare import BareCallReader
from minivault.engine.chat.parameters import typed
from minivault.engine.chat.reader import AnswerReader
from minivault.errors import FieldError, Unsupported
from minivault.text_request import Tools

Style = Literal["json", "list", "named", "bare"]

_THOUGHTS: dict[str, Any] = {"open": "<think>", "close_pattern": r"\s*</think>", "content": "text"}
_TEXT: dict[str, Any] = {"content": "text"}
_START = r"\A"  # a reader gets no more of the prompt than the beginning of the answer
_MARKS = ("open", "open_pattern", "close", "close_pattern")

JSON_CALL = {
    "open_pattern": r"\s*<tool_call>",
    "close": "</tool_call>",
    "repeats": True,
    "content": "json",
    "content_args": {"allow_non_json": True},
    "transform": {"type": "function", "function": "{content}"},
}


def response_template(**fields: Any) -> dict[str, Any]:
    """transformers' response template of an answer with these fields, thoughts and words."""
    fields = {"reasoning_content": _THOUGHTS, **fields, "content": _TEXT}
    return {"start_anchor_pattern": _START, "fields": fields}


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How answers are written. `template` is transformers' response template.

    `begin` and `end` stand around a call: around its JSON, or around a name and parameters, which
    `tags` then stand around; they are empty for calls of another form. `calls`: calls can be read.
    `style` says what the JSON is: `json`, with the arguments under `key`; a `list` of such; the
    arguments alone, behind a name and `named`; or `bare`: the answer is a call as a whole.
    `special` are the tokenizer's special tokens: those that mark something in answers make text
    where functions may be called, else none; `unmarked` is what reads answers then, None for plain
    text. `shows_tools`, `writes_calls`: the chat template has a
    place for functions, and for calls that were made. `short_ids`: it wants ids of nine letters.
    """

    template: Mapping[str, Any] | None = None
    begin: str = ""
    end: str = ""
    tags: Mapping[str, str] | None = None
    style: Style = "json"
    key: str = "arguments"
    named: str = ""
    special: frozenset[str] = frozenset()
    unmarked: Mapping[str, Any] | None = None
    calls: bool = False
    shows_tools: bool = False
    writes_calls: bool = False
    short_ids: bool = False

    def shown(
        self, turns: Sequence[Mapping[str, Any]], texts: Sequence[str], told: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The turns as the template gets them, with these texts as their contents.

        What it has no place for is put into them: tools, and calls that were made.
        """
        made = [{**turn, "content": text} for turn, text in zip(turns, texts, strict=True)]
        for turn in made:
            if self.short_ids:
                _shorten(turn)
            if not self.writes_calls and (calls := turn.get("tool_calls")):
                turn["content"] = "\n".join(filter(None, (turn["content"], _written(calls))))
        if not self.shows_tools and (tools := told.get("tools")):
            if made[0]["role"] == "system":
                made[0]["content"] = f"{_described(tools)}\n\n{made[0]['content']}"
            else:
                made.insert(0, {"role": "system", "content": _described(tools)})
        return made

    def names(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What the template can read besides, of what it is told."""
        return {name: each for name, each in told.items() if name != "tools" or self.shows_tools}

    def call_format(
        self, prompt: str, tools: Tools, text: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """See `Tokenizer.call_format`."""
        if tools.choice == "auto" and not self.calls:
            raise Unsupported([FieldError("tools", _NOT_READ)])
        is_auto = tools.choice == "auto"
        form = self if self.calls and (self.begin or is_auto) else DESCRIBED
        held = not (form.tags and is_auto)
        format: dict[str, Any] = {
            "type": "calls",
            "choice": tools.choice,
            "parallel": tools.parallel,
            "tools": [each.model_dump(exclude_none=True) for each in tools.callable],
            "begin": form.begin if held else "",
            "end": form.end if held else "",
        }
        if form.tags and held:
            format["tags"] = dict(form.tags)
        if form.style != "json" and held:
            format |= {"style": form.style, "key": form.key, "named": form.named}
        elif form.key != "arguments":
            format["key"] = form.key
        if marks := marks_of(form.template, self.special):
            format["marks"] = marks
        if not self.shows_tools:
            format["described"] = True
        start = _start_of_answer(prompt)
        if start.rfind("<think>") > start.rfind("</think>"):
            format["thinking"] = True
        return format | ({"text": dict(text)} if text else {})

    def reader(self, prompt: str, format: Mapping[str, Any] | None) -> Reader | None:
        """See `Tokenizer.reader`."""
        tools: list[dict[str, Any]] = []
        template = self.template
        if format and format["type"] == "calls":
            if format.get("style") == "bare":
                return BareCallReader({each["name"] for each in format["tools"]})
            tools = typed(Tools(offered=format["tools"]).shown)
            if not self.calls or format["begin"] not in ("", self.begin):
                template = DESCRIBED.template
        elif marks_of(template, self.special):  # which have made no text
            template = self.unmarked
        return AnswerReader(template, _start_of_answer(prompt), tools) if template else None


def marks_of(template: Mapping[str, Any] | None, special: Collection[str]) -> list[str]:
    """The special tokens that mark something in a response template; the end of all is none."""
    fields = (template or {}).get("fields", {}).values()
    explicit = [each for each in fields if {"open", "open_pattern"} & each.keys()]
    marks = [each.get(mark) for each in explicit for mark in _MARKS]
    looked_for = json.dumps(marks, ensure_ascii=False).replace("\\", "")
    return sorted(each for each in special if each in looked_for)


def unmarked(
    template: Mapping[str, Any] | None, special: Collection[str]
) -> Mapping[str, Any] | None:
    """A response template without what special tokens mark; None if words alone are left."""
    fields = (template or {}).get("fields", {})
    left = {
        name: each
        for name, each in fields.items()
        if not marks_of({"fields": {name: each}}, special)
    }
    return {**(template or {}), "fields": left} if left.keys() - {"content"} else None


#: How a model is told to write calls whose chat template knows none.
DESCRIBED = AnswerForm(
    response_template(tool_calls=JSON_CALL), "<tool_call>\n", "\n</tool_call>", calls=True
)

_NOT_READ = (
    "cannot be left to this model: nothing is known of how it writes calls. With tool_choice "
    '"required", or with a function named there, a call is forced'
)


def _described(tools: Sequence[Mapping[str, Any]]) -> str:
    """What a model is told of functions whose chat template has no place for them."""
    listed = "\n".join(json.dumps(each["function"], ensure_ascii=False) for each in tools)
    example = '{"name": <name>, "arguments": <arguments>}'
    return (
        f"You can call these functions, which are described in JSON:\n{listed}\n"
        f"To call one, write: {DESCRIBED.begin}{example}{DESCRIBED.end}"
    )


def _written(calls: Sequence[Mapping[str, Any]]) -> str:
    """Calls of an earlier answer, as such a model was told to write them."""
    return "\n".join(
        DESCRIBED.begin
        + json.dumps({each: call["function"][each] for each in ("name", "arguments")})
        + DESCRIBED.end
        for call in calls
    )


def _shorten(turn: dict[str, Any]) -> None:
    """Gives the calls of a turn, or the one that it answers, ids of nine letters."""
    if calls := turn.get("tool_calls"):
        turn["tool_calls"] = [{**each, "id": _short(each.get("id", ""))} for each in calls]
    if id := turn.get("tool_call_id"):
        turn["tool_call_id"] = _short(id)


def _short(id: str) -> str:
    return sha256(id.encode("utf-8", "replace")).hexdigest()[:9]


def _start_of_answer(prompt: str) -> str:
    """What the prompt has of the answer itself: what stands behind the last words that it answers.

    An answer that goes on begins with its own words.
    """
    turns = prompt.messages if isinstance(prompt, Rendered) else []
    asked = turns[:-1] if turns and turns[-1]["role"] == "assistant" else turns
    ends = [end for turn in asked for _, end in turn["at"]]
    return str(prompt)[max(ends, default=0) :]
