"""The form of a model's answers, by what its chat template writes.

What it writes of a call is what the model was trained to write.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from minivault.engine.chat.answers import JSON_CALL, AnswerForm, response_template, unmarked
from minivault.engine.chat.contents import new_marks
from minivault.engine.chat.template import ChatTemplate, TemplateFails

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
_ID = "call00000"  # of nine letters, since Mistral's templates refuse others


def form_of(
    template: ChatTemplate,
    source: str,
    own: Mapping[str, Any] | None = None,
    special: Collection[str] = (),
) -> AnswerForm:
    """`source`: the template's text. `own` is the response template that came with the tokenizer.
    `special` are the special tokens.
    """
    name, key, value = new_marks(3)
    nothing = {"type": "object", "properties": {}}
    offered = {"name": name, "description": "Does it.", "parameters": nothing}
    shows = name in _rendered(template, [], tools=[{"type": "function", "function": offered}])
    function = {"name": name, "arguments": {key: value}}
    call = {"id": _ID, "type": "function", "function": function}
    written = _rendered(template, [{"role": "assistant", "content": "", "tool_calls": [call]}])
    thinks = "</think>" in source
    plain = response_template() if thinks else None
    bare = AnswerForm(
        template=plain,
        special=frozenset(special),
        unmarked=unmarked(own or plain, special),
        shows_tools=shows,
        writes_calls=name in written,
    )
    form = _tagged(bare, written, name, key, value) or _of_json(bare, written, name, key, value)
    if form and form.style != "json" and not shows:
        form = None  # whoever is told of functions in words is told to write another form
    if own:
        calls = "tool_calls" in own.get("fields", {})
        around = form if form and form.style == "json" else bare
        return replace(around, template=own, calls=calls)
    if form is None and shows and not thinks and _is_bare(template, written, name, key, value):
        form = replace(bare, begin="{", style="bare", key="parameters", calls=True)
    return form or bare


def _tagged(form: AnswerForm, written: str, name: str, key: str, value: str) -> AnswerForm | None:
    found = re.search(
        rf"(<tool_call>\s*<function=){name}(>\s*)(<parameter=){key}(>\s*){value}"
        r"(\s*</parameter>\s*)(</function>\s*</tool_call>)",
        written,
    )
    if found is None:
        return None
    begin, named, tag, of, closed, end = found.groups()
    tags = {"named": named, "begin": tag, "value": of, "end": closed}
    template = response_template(tool_calls=_TAGGED_CALL)
    return replace(form, template=template, begin=begin, end=end, tags=tags, calls=True)


def _of_json(form: AnswerForm, written: str, name: str, key: str, value: str) -> AnswerForm | None:
    arguments = rf'\{{"{key}": "{value}"\}}'
    object = rf'\{{"name": "{name}", "(arguments|parameters)": {arguments}'
    mark = r"((?:<[^<>\s]+>|\[[A-Z_]+\])\s*"
    if found := re.search(rf"(<tool_call>\s*){object}\}}(\s*</tool_call>)", written):
        begin, argued, end = found.groups()
        template = response_template(tool_calls=JSON_CALL)
        return replace(form, template=template, begin=begin, end=end, key=argued, calls=True)
    if found := re.search(rf'{mark}\[){object}(, "id": "{_ID}")?\}}\]', written):
        begin, argued, id = found.groups()
        listed = {
            "open_pattern": rf"\s*{re.escape(begin[:-1].rstrip())}\s*(?=\[)",
            "content": "json",
            "content_args": {"allow_non_json": True},
        }
        template = response_template(tool_calls=listed)
        form = replace(form, style="list", key=argued, short_ids=bool(id), calls=True)
        return replace(form, template=template, begin=begin)
    if found := re.search(rf"{mark}){name}((?:\[CALL_ID\]{_ID})?)(\[ARGS\]){arguments}", written):
        begin, id, named = found.groups()
        opened = re.escape(begin.rstrip())
        call = {
            "open_pattern": rf"\s*{opened}\s*(?P<name>[^\[\s]+)(?:\[CALL_ID\]\w*)?\[ARGS\]",
            "close_pattern": rf"(?={opened})",
            "repeats": True,
            "content": "json",
            "content_args": {"allow_non_json": True},
            "transform": {"function": {"name": "{name}", "arguments": "{content}"}},
        }
        template = response_template(tool_calls=call)
        form = replace(form, style="named", named=named, short_ids=bool(id), calls=True)
        return replace(form, template=template, begin=begin)
    return None


def _is_bare(template: ChatTemplate, written: str, name: str, key: str, value: str) -> bool:
    """Whether an answer that calls is the JSON of the call, and nothing before it (Llama 3)."""
    asked = _rendered(template, [], answer=True)
    call = f'{{"name": "{name}", "parameters": {{"{key}": "{value}"}}}}'
    return bool(asked) and written.startswith(asked + call)


def _rendered(
    template: ChatTemplate, turns: list[dict[str, Any]], *, answer: bool = False, **names: Any
) -> str:
    """What a template makes of these turns behind a user's; nothing if it fails."""
    try:
        (text,) = template.render(
            [[{"role": "user", "content": "Hello"}, *turns]], answer=answer, names=names
        )
    except TemplateFails:
        return ""
    return text
