"""Calls that special tokens mark, and those that nothing marks: written, read, told apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from tokenizers import AddedToken

from minivault.backends.base import Part
from minivault.engine.tokenizer import Tokenizer
from minivault.engine.tokenizer_files import TokenizerFiles
from minivault.errors import BackendFailed, Unsupported
from minivault.text_request import Tool, Tools
from tests.engine import vocabularies
from tests.engine.chat_models import CALLING, LLAMA_3, TAGGED, parts

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
_X: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
ADD = Tool(name="add", parameters=_X | {"additionalProperties": False})
STOP = Tool(name="stop", parameters={"type": "object", "properties": {}})

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and loop.last %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]"
    "{% endif %}"
    "[INST] {{ m.content }}[/INST]{% elif m.tool_calls %}[TOOL_CALLS] ["
    "{% for c in m.tool_calls %}{% set out = c.function | tojson %}{{ out[:-1] }}"
    "{% if c.id | length != 9 %}{{ raise_exception('nine letters') }}{% endif %}"
    ', "id": "{{ c.id }}"}{{ \', \' if not loop.last }}{% endfor %}]</s>'
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.tool_call_id }} {{ m.content }}[/TOOL_RESULTS]"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
NAMED = MISTRAL.replace(
    MISTRAL[MISTRAL.index("[TOOL_CALLS] [") : MISTRAL.index("</s>{% elif")],
    "{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]"
    "{{ c.function.arguments | tojson }}{% endfor %}",
)
LLAMA = LLAMA_3.replace(
    "{%- for message",
    "{%- if tools %}{{ '<|start_header_id|>system<|end_header_id|>\n\n' + tools | tojson }}"
    "{{ '<|eot_id|>' }}{% endif %}{%- for message",
).replace(
    "message['content'] | trim",
    """('{"name": "' + message.tool_calls[0].function.name + '", "parameters": '"""
    """ + message.tool_calls[0].function.arguments | tojson + '}'"""
    " if message.tool_calls else message['content'] | trim)",
)


@dataclass(frozen=True)
class Form:
    """`call` adds 12; `wrong` begins one that is none."""

    template: str
    special: tuple[str, ...]
    call: str
    wrong: str
    several: str = ""


JSON = '{"name": "add", "arguments": {"x": 12}'
TURNS = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>")
INST = ("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]", "[TOOL_RESULTS]")
FORMS = {
    "hermes": Form(
        CALLING,
        TURNS,
        f"<tool_call>\n{JSON}}}\n</tool_call>",
        '<tool_call>\n{"name": "sub',
        f"<tool_call>\n{JSON}}}\n</tool_call>\n<tool_call>\n{JSON}}}\n</tool_call>",
    ),
    "tags": Form(
        TAGGED,
        TURNS,
        "<tool_call>\n<function=add>\n<parameter=x>\n12\n</parameter>\n</function>\n</tool_call>",
        "",
    ),
    "mistral": Form(
        MISTRAL,
        INST,
        f'[TOOL_CALLS] [{JSON}, "id": "abcdefghi"}}]',
        '[TOOL_CALLS] [{"name": "add", "arguments": {"y',
        f"[TOOL_CALLS] [{JSON}}}, {JSON}}}]",
    ),
    "mistral in letters": Form(
        MISTRAL,
        ("<s>", "</s>", "[INST]", "[/INST]"),
        f'[TOOL_CALLS] [{JSON}, "id": "abcdefghi"}}]',
        '[TOOL_CALLS][{"name": "sub"',
        f"[TOOL_CALLS] [{JSON}}}, {JSON}}}]",
    ),
    "mistral with names": Form(
        NAMED,
        INST,
        '[TOOL_CALLS]add[ARGS]{"x": 12}',
        "[TOOL_CALLS]sub",
        '[TOOL_CALLS]add[ARGS]{"x": 12}[TOOL_CALLS]add[ARGS]{"x": 12}',
    ),
    "llama": Form(
        LLAMA,
        ("<s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"),
        '{"name": "add", "parameters": {"x": 12}}',
        '{"name":"add", "parameters": {"y',
    ),
}
CALLED = [Part("name", "add"), Part("arguments", '{"x": 12}')]


def tokenizer_of(name: str, kind: str = "bytes", source: str = "") -> Tokenizer:
    form = FORMS[name]
    backend = vocabularies.byte_level() if kind == "bytes" else vocabularies.sentence_piece()
    backend.add_special_tokens([AddedToken(each, normalized=False) for each in form.special])
    names = {"bos_token": "<s>"} if "<s>" in form.special else {}
    return Tokenizer(TokenizerFiles(backend, source or form.template, names=names))


def offered(choice: str = "auto", *, parallel: bool = True) -> Tools:
    return Tools(offered=[ADD, STOP], choice=choice, parallel=parallel)


def format_of(tokenizer: Tokenizer, tools: Tools) -> dict[str, Any]:
    prompt = tokenizer.render(HELLO, {"tools": tools.shown})
    return tokenizer.call_format(prompt, tools, None)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """As a model writes it: its marks are tokens of their own."""
    return list(tokenizer._backend.encode(text, add_special_tokens=False).ids)


def accepts(tokenizer: Tokenizer, text: str, tools: Tools) -> bool | None:
    """Whether a text may be all that is said; None where it may not even begin so."""
    constraint = tokenizer.constrain(format_of(tokenizer, tools))
    assert constraint is not None
    try:
        for token in ids(tokenizer, text):
            constraint.accept(token)
    except BackendFailed:
        return None
    return bool(constraint._matcher.is_accepting())


def read(tokenizer: Tokenizer, text: str, tools: Tools) -> list[Part]:
    """The parts of an answer, token by token, as a server reads it."""
    format = format_of(tokenizer, tools)
    prompt = tokenizer.render(HELLO, {"tools": tools.shown})
    stream = tokenizer.text(tokenizer.encode(prompt), (), format)
    reader = tokenizer.reader(prompt, format)
    assert reader is not None
    said = [*map(stream.push, ids(tokenizer, text)), stream.flush()]
    assert "".join(said).lstrip() == text
    return parts(reader, said)


@pytest.mark.parametrize("name", FORMS)
def test_a_call_that_is_left_to_the_model_is_written_and_read(name: str) -> None:
    tokenizer, form = tokenizer_of(name), FORMS[name]
    assert read(tokenizer, form.call, offered()) == CALLED
    assert read(tokenizer, "Just words {", offered()) == [Part("content", "Just words {")]
    if name != "tags":  # these are written freely
        for text in ("", "Just words", form.call):
            assert accepts(tokenizer, text, offered())
        assert accepts(tokenizer, form.wrong, offered()) is None
    if form.several:
        again = [Part(each.kind, each.text, 1) for each in CALLED]
        assert read(tokenizer, form.several, offered()) == CALLED + again
        assert accepts(tokenizer, form.several, offered())
        assert not accepts(tokenizer, form.several, offered(parallel=False))


@pytest.mark.parametrize("name", FORMS)
def test_a_call_can_be_forced_in_the_models_own_form(name: str) -> None:
    tokenizer, form = tokenizer_of(name), FORMS[name]
    assert accepts(tokenizer, form.call, offered("required"))
    assert accepts(tokenizer, form.call, offered("add"))
    assert accepts(tokenizer, "Just words", offered("required")) is None
    assert accepts(tokenizer, form.call, offered("stop")) is None


@pytest.mark.parametrize("name", ["hermes", "mistral", "tags"])
def test_words_before_a_call_are_said(name: str) -> None:
    read_ = read(tokenizer_of(name), f"So: {FORMS[name].call}", offered())
    assert [read_[0].text.strip(), *read_[1:]] == ["So:", *CALLED]


def test_marks_make_no_text_where_no_function_may_be_called() -> None:
    tokenizer = tokenizer_of("hermes")
    prompt = tokenizer.render(HELLO)
    stream = tokenizer.text(tokenizer.encode(prompt))
    assert "".join(map(stream.push, ids(tokenizer, "<tool_call>a</tool_call>"))) == "a"
    assert tokenizer.reader(prompt, None) is None


def test_thoughts_in_letters_are_told_apart_where_special_tokens_mark_calls_alone() -> None:
    source = FORMS["mistral"].template + "{# it begins with <think>, up to </think> #}"
    tokenizer = tokenizer_of("mistral", source=source)
    reader = tokenizer.reader(tokenizer.render(HELLO), None)
    assert reader is not None
    said = [*reader.feed("<think>\nHm.\n</think>\n\nYes"), *reader.end()]
    assert said == [Part("reasoning", "Hm."), Part("content", "Yes")]
    assert tokenizer_of("mistral").reader(tokenizer.render(HELLO), None) is None


@pytest.mark.parametrize("name", ["hermes", "mistral", "mistral with names"])
def test_a_mark_that_is_spelled_in_letters_is_no_text_either(name: str) -> None:
    """As a model would repeat what its prompt quotes: it would be read as a call, of anything."""
    tokenizer, form = tokenizer_of(name), FORMS[name]
    constraint = tokenizer.constrain(format_of(tokenizer, offered()))
    assert constraint is not None
    mark = form.wrong.partition("]")[0] + "]" if form.wrong[0] == "[" else "<tool_call>"
    for letter in "Hm " + mark[:-1]:
        (token,) = ids(tokenizer, letter)
        constraint.accept(token)
    (token,) = ids(tokenizer, mark[-1])
    with pytest.raises(BackendFailed):
        constraint.accept(token)


def test_marks_make_text_in_other_vocabularies_too() -> None:
    tokenizer = tokenizer_of("mistral", "pieces")
    stream = tokenizer.text([], (), format_of(tokenizer, offered()))
    said = [*map(stream.push, ids(tokenizer, "the [TOOL_CALLS] [")), stream.flush()]
    assert "".join(said).split() == ["the", "[TOOL_CALLS]", "["]


def test_thoughts_that_special_tokens_mark_are_told_apart_where_functions_may_be_called() -> None:
    tokenizer, form = tokenizer_of("hermes"), FORMS["hermes"]
    said = read(tokenizer, f"<think>\nHm.\n</think>\n\n{form.call}", offered())
    assert said == [Part("reasoning", "Hm."), *CALLED]


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "sub", "parameters": {"x": 1}}',
        '{"name": "add"}',
        '{"name": "add", "param',
        '{"name": "a\\q", "parameters": {}}',
        '{"name": "\\u0061dd", "parameters": {"y": 1}}',
        '{"names": ["add"]}',
        '[{"name": "add", "parameters": {"x": 1}}]',
    ],
)
def test_json_that_is_no_call_is_said(text: str) -> None:
    tokenizer = tokenizer_of("llama")
    assert accepts(tokenizer, text, offered())
    assert read(tokenizer, text, offered()) == [Part("content", text)]


def test_a_call_without_marks_is_held_to_its_schema_by_whatever_name_its_arguments_go() -> None:
    tokenizer = tokenizer_of("llama")
    call = '{"name": "add", "arguments": {"x": 12}}'
    assert accepts(tokenizer, call, offered())
    assert read(tokenizer, call, offered()) == CALLED
    assert accepts(tokenizer, call.replace("x", "y"), offered()) is None
    reader = tokenizer.reader("", format_of(tokenizer, offered()))
    assert reader is not None
    spelled = '{"name": "\\u0061dd", "parameters": {'
    assert reader.feed(spelled) == [Part("content", spelled)]


def test_text_is_held_back_only_while_it_may_become_a_call() -> None:
    tokenizer = tokenizer_of("llama")
    reader = tokenizer.reader("", format_of(tokenizer, offered()))
    assert reader is not None
    assert reader.feed(' {"na') == []
    assert reader.feed('ughty": 1') == [Part("content", ' {"naughty": 1')]
    assert reader.feed("}") == [Part("content", "}")]
    reader = tokenizer.reader("", format_of(tokenizer, offered()))
    assert reader is not None
    assert reader.feed('{"name": "add", "parameters": {"x": ') == [
        Part("name", "add"),
        Part("arguments", '{"x": '),
    ]
    assert reader.feed("12}") == [Part("arguments", "12}")]
    assert [*reader.feed("}"), *reader.end()] == []


@pytest.mark.parametrize("name", ["mistral", "llama"])
def test_a_model_whose_template_shows_no_functions_takes_only_forced_calls(name: str) -> None:
    """It is told of them in words, and to write calls as these say."""
    form = FORMS[name]
    backend = vocabularies.byte_level()
    backend.add_special_tokens([AddedToken(each, normalized=False) for each in form.special])
    template = "{% set tools = none %}" + form.template
    tokenizer = Tokenizer(TokenizerFiles(backend, template, names={"bos_token": "<s>"}))
    with pytest.raises(Unsupported, match="cannot be left to this model"):
        format_of(tokenizer, offered())
    assert format_of(tokenizer, offered("add"))["begin"] == "<tool_call>\n"


def test_templates_that_want_ids_of_nine_letters_get_them() -> None:
    call = {"id": "call_of_ours", "type": "function", "function": {"name": "add", "arguments": {}}}
    turns = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "it is 3", "tool_call_id": "call_of_ours"},
    ]
    prompt = tokenizer_of("mistral").render(turns)
    id = prompt.partition('"id": "')[2][:9]
    assert id.isalnum()
    assert f"[TOOL_RESULTS] {id} it is 3" in prompt
    assert turns[2]["tool_call_id"] == "call_of_ours"
