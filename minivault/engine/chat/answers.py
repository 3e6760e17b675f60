"""How a model writes its answers: what it thought, what it says, and which functions it calls.

What its chat template writes of a call is what it was trained to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from minivault.backends.base import Rendered
from minivault.engine.chat.contents import new_marks
from minivault.engine.chat.parameters import typed
from minivault.engine.chat.reader import AnswerReader
from minivault.engine.chat.template import ChatTemplate, TemplateFails
from minivault.errors import FieldError, Unsupported
from minivault.text_request import Tools

_THOUGHTS: dict[str, Any] = {"open": "<think>", "close_pattern": r"\s*</think>", "content": "text"}
_TEXT: dict[str, Any] = {"content": "text"}
_MARKS = ("open", "open_pattern", "close", "close_pattern")
_START = r"\A"  # a reader gets no more of the prompt than the beginning of the answer

_JSON_CALL = {
    "open_pattern": r"\s*<tool_call>",
    "close": "</tool_call>",
    "repeats": True,
    "content": "json",
    "content_args": {"allow_non_json": True},
    "transform": {"type": "function", "function": "{content}"},
}
_TAGGED_CALL = {
    "open_pattern": r"\s*<tool_call>\s*<function=(?P<name>[^>\s]+)>",
    "close_pattern": r"</function>\s*</tool_call>",
    "repeats": True,
    "content": "xml-inline",
    "content_args": {
        "tag_pattern": r"<parameter=(?P<key>[^>\s]+)>\n?(?P<value>.*?)\n?</parameter>"
    },
    "transform": {"function": {"name": "{name}", "arguments": "{content}"}},
}


def _template(**fields: Any) -> dict[str, Any]:
    fields = {"reasoning_content": _THOUGHTS, **fields, "content": _TEXT}
    return {"start_anchor_pattern": _START, "fields": fields}


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How answers are written. `template` is transformers' response template.

    `begin` and `end` stand around a call: around its JSON, or around a name and parameters, which
    `tags` then stand around; they are empty for calls of another form. `calls`: calls can be read.
    `shows_tools`, `writes_calls`: the chat template has a place for functions, and for calls that
    were made.
    """

    template: Mapping[str, Any] | None = None
    begin: str = ""
    end: str = ""
    tags: Mapping[str, str] | None = None
    calls: bool = False
    shows_tools: bool = False
    writes_calls: bool = False

    def shown(
        self, turns: Sequence[Mapping[str, Any]], texts: Sequence[str], told: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The turns as the template gets them, with these texts as their contents.

        What it has no place for is put into them: tools, and calls that were made.
        """
        made = [{**turn, "content": text} for turn, text in zip(turns, texts, strict=True)]
        for turn in made:
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
        if not self.shows_tools:
            format["described"] = True
        start = _start_of_answer(prompt)
        if start.rfind("<think>") > start.rfind("</think>"):
            format["thinking"] = True
        return format | ({"text": dict(text)} if text else {})

    def reader(self, prompt: str, format: Mapping[str, Any] | None) -> AnswerReader | None:
        """See `Tokenizer.reader`."""
        tools: list[dict[str, Any]] = []
        template = self.template
        if format and format["type"] == "calls":
            tools = typed(Tools(offered=format["tools"]).shown)
            if not self.calls or format["begin"] not in ("", self.begin):
                template = DESCRIBED.template
        return AnswerReader(template, _start_of_answer(prompt), tools) if template else None


#: How a model is told to write calls whose chat template knows none.
DESCRIBED = AnswerForm(
    _template(tool_calls=_JSON_CALL), "<tool_call>\n", "\n</tool_call>", calls=True
)

_NOT_READ = (
    "cannot be left to this model: nothing is known of how it writes calls. With tool_choice "
    '"required", or with a function named there, a call is forced'
)


def form_of(
    template: ChatTemplate,
    source: str,
    own: Mapping[str, Any] | None = None,
    hidden: Collection[str] = (),
) -> AnswerForm:
    """The form of a model's answers, by what its chat template writes. `source`: its text.

    `own` is the response template that came with the tokenizer. `hidden` are the special tokens,
    which make no text: what they would mark cannot be read.
    """
    name, key, value = new_marks(3)
    nothing = {"type": "object", "properties": {}}
    offered = {"name": name, "description": "Does it.", "parameters": nothing}
    tools = [{"type": "function", "function": offered}]
    shows = name in _rendered(template, [], tools=tools)
    function = {"name": name, "arguments": {key: value}}
    call = {"id": "call00000", "type": "function", "function": function}
    written = _rendered(template, [{"role": "assistant", "content": "", "tool_calls": [call]}])
    bare = AnswerForm(shows_tools=shows, writes_calls=name in written)
    arguments = rf'\{{"{key}": "{value}"\}}'
    found = re.search(
        rf'(<tool_call>\s*)\{{"name": "{name}", "arguments": {arguments}\}}(\s*</tool_call>)',
        written,
    )
    begin, end = found.groups() if found else ("", "")
    tags = None
    if tagged := re.search(
        rf"(<tool_call>\s*<function=){name}(>\s*)(<parameter=){key}(>\s*){value}"
        r"(\s*</parameter>\s*)(</function>\s*</tool_call>)",
        written,
    ):
        begin, end = tagged[1], tagged[6]
        tags = {"named": tagged[2], "begin": tagged[3], "value": tagged[4], "end": tagged[5]}
    known = replace(bare, template=_template() if "</think>" in source else None)
    if own:
        calls = "tool_calls" in own.get("fields", {})
        known = replace(bare, template=own, begin=begin, end=end, tags=tags, calls=calls)
    elif found:
        called = _template(tool_calls=_JSON_CALL)
        known = replace(bare, template=called, begin=begin, end=end, calls=True)
    elif tagged:
        called = _template(tool_calls=_TAGGED_CALL)
        known = replace(bare, template=called, begin=begin, end=end, tags=tags, calls=True)
    # Whether its template looks for one of the marks that make no text; the end of all may be one.
    fields = (known.template or {}).get("fields", {}).values()
    explicit = [each for each in fields if {"open", "open_pattern"} & each.keys()]
    marks = [each.get(mark) for each in explicit for mark in _MARKS]
    looked_for = json.dumps(marks, ensure_ascii=False).replace("\\", "")
    return bare if any(each in looked_for for each in hidden) else known


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


def _start_of_answer(prompt: str) -> str:
    """What the prompt has of the answer itself: what stands behind the last words that it answers.

    An answer that goes on begins with its own words.
    """
    turns = prompt.messages if isinstance(prompt, Rendered) else []
    asked = turns[:-1] if turns and turns[-1]["role"] == "assistant" else turns
    ends = [end for turn in asked for _, end in turn["at"]]
    return str(prompt)[max(ends, default=0) :]


def _rendered(template: ChatTemplate, turns: list[dict[str, Any]], **names: Any) -> str:
    """What a template makes of these turns behind a user's; nothing if it fails."""
    try:
        (text,) = template.render(
            [[{"role": "user", "content": "Hello"}, *turns]], answer=False, names=names
        )
    except TemplateFails:
        return ""
    return text
