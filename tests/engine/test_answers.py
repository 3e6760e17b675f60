"""How answers are written and read: thoughts, words and calls, of models of several families."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tokenizers import AddedToken

from minivault.backends.base import Part
from minivault.engine.chat import reader
from minivault.engine.tokenizer import Tokenizer
from minivault.engine.tokenizer_files import TokenizerFiles
from minivault.errors import BackendFailed, InvalidRequest, Unsupported
from minivault.text_request import Tool, Tools
from tests.engine.chat_models import FAMILIES, parts, tokenizer_of, vocabulary_of

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Say <think> and <|im_end|>"}]
ADD = Tool(
    name="add",
    description="Adds.",
    parameters={
        "type": "object",
        "properties": {
            "x": {"$ref": "#/$defs/number"},
            "how": {"type": "string"},
            "n": {"type": "integer"},
        },
        "required": ["x"],
        "additionalProperties": False,
        "$defs": {"number": {"type": "integer"}},
    },
)
STOP = Tool(name="stop", parameters={"type": "object", "properties": {}})


def tools(choice: str = "auto", *, parallel: bool = True) -> Tools:
    return Tools(offered=[ADD, STOP], choice=choice, parallel=parallel)


@pytest.fixture(scope="module")
def calling() -> Tokenizer:
    return tokenizer_of("calling")


def told(tokenizer: Tokenizer, cuts: list[str], *, calls: Tools | None = None) -> list[Part]:
    """The parts of a text that comes in pieces."""
    prompt = tokenizer.render(HELLO)
    format = tokenizer.call_format(prompt, calls, None) if calls else None
    reader = tokenizer.reader(prompt, format)
    assert reader is not None
    return parts(reader, cuts)


CALL = '<tool_call>\n{"name": "add", "arguments": {"x": 1, "how": "}\\" </tool"}}\n</tool_call>'
ADDED = [Part("name", "add"), Part("arguments", '{"x": 1, "how": "}\\" </tool"}')]
ANSWERS = {
    "Just words <tool ": [Part("content", "Just words <tool ")],
    f"<think>\nHm {{\n</think>\n\nSo:\n\n{CALL}\n{CALL}": [
        Part("reasoning", "Hm {"),
        Part("content", "So:"),
        *ADDED,
        *(Part(each.kind, each.text, 1) for each in ADDED),
    ],
    '<tool_call>{"arguments": {"x": 1}, "name": "add"}</tool_call>': [
        Part("name", "add"),
        Part("arguments", '{"x": 1}'),
    ],
    '<tool_call>\n{"name": "add", "arguments": {"x": 1': [  # its limit
        Part("name", "add"),
        Part("arguments", '{"x": 1'),
    ],
    "a <tool_call>no JSON</tool_call>b": [Part("content", "ano JSONb")],
    '<tool_call>{"name": "a\\q", "arguments": {}}</tool_call>b': [
        Part("content", '{"name": "a\\q", "arguments": {}}b')
    ],
}


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_read_the_same_however_it_is_cut(calling: Tokenizer, text: str) -> None:
    assert told(calling, [text]) == ANSWERS[text]
    assert told(calling, list(text)) == ANSWERS[text]
    draw = random.Random(7)
    for _ in range(20):
        places = sorted(draw.sample(range(len(text)), 5))
        cuts = [text[a:b] for a, b in zip([0, *places], [*places, None], strict=True)]
        assert told(calling, cuts) == ANSWERS[text]


def test_a_prompt_may_begin_the_thought(calling: Tokenizer) -> None:
    prompt = calling.render(HELLO, {"thinking": True})
    assert prompt.endswith("<think>\n")
    reader = calling.reader(prompt, None)
    assert reader is not None
    assert reader.feed("Hm.\n</think>\n\nYes") == [Part("reasoning", "Hm."), Part("content", "Yes")]


def test_calls_with_tags_are_read_by_their_schema() -> None:
    tokenizer = tokenizer_of("calling with tags")
    text = "<tool_call>\n<function=add>\n<parameter=n>\n12\n</parameter>\n</function>\n</tool_call>"
    read = told(tokenizer, list(text), calls=tools())
    assert read == [Part("name", "add"), Part("arguments", '{"n": 12}')]


def test_a_schema_that_holds_itself_is_looked_at_once() -> None:
    itself: dict[str, Any] = {"$ref": "#/$defs/n"}
    schema = {"n": {"anyOf": [*([itself] * 4), {"type": "integer"}]}}
    offered = Tools(offered=[Tool(name="add", parameters={"properties": {"n": itself}})])
    offered.offered[0].parameters["$defs"] = schema
    text = "<tool_call>\n<function=add>\n<parameter=n>\n12\n</parameter>\n</function>\n</tool_call>"
    read = told(tokenizer_of("calling with tags"), [text], calls=offered)
    assert read == [Part("name", "add"), Part("arguments", '{"n": 12}')]


MANY: dict[str, Any] = {
    "properties": {f"x{n}": {"$ref": "#/$defs/x"} for n in range(150)},
    "$defs": {"x": {"anyOf": [{"type": "integer", "minimum": n} for n in range(100)]}},
}

FEED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "animal": {"$ref": "#/$defs/animal"},
        "food": {"type": "string"},
        "kind": {"anyOf": [{"enum": ["wet", "dry"]}, {"type": "null"}]},
        "when": {"type": "array", "items": {"$ref": "#/$defs/hour"}},
    },
    "required": ["animal", "food"],
    "$defs": {
        "animal": {"type": "object", "properties": {"legs": {"type": "integer"}}},
        "hour": {"type": "integer", "maximum": 23},
    },
}


def fed(**values: str) -> str:
    told = "".join(f"<parameter={key}>\n{each}\n</parameter>\n" for key, each in values.items())
    return f"<tool_call>\n<function=feed>\n{told}</function>\n</tool_call>"


FED = fed(animal='{"legs": 4}', food='hay, "fresh"\nand </tool_call>', kind="dry", when="[7, 19]")


def test_calls_with_tags_can_be_forced() -> None:
    tokenizer = tokenizer_of("calling with tags")
    feed = Tools(offered=[Tool(name="feed", parameters=FEED), STOP], choice="required")
    assert accepts(tokenizer, FED, feed)
    assert told(tokenizer, list(FED), calls=feed) == [
        Part("name", "feed"),
        Part(
            "arguments",
            '{"animal": {"legs": 4}, "food": "hay, \\"fresh\\"\\nand </tool_call>", '
            '"kind": "dry", "when": [7, 19]}',
        ),
    ]
    stop = "<tool_call>\n<function=stop>\n</function>\n</tool_call>"
    small = fed(animal="{}", food="hay")
    for text in (small, stop, f"{small}\n{stop}", fed(animal="{}", food="", kind="null")):
        assert accepts(tokenizer, text, feed)
    for text in (
        "Just words",
        fed(animal="{}"),
        fed(animal='{"legs": "four"}', food="hay"),
        fed(food="hay", animal="{}"),
        fed(animal="{}", food="hay", kind="moist"),
        fed(animal="{}", food="hay", when="[24]"),
    ):
        assert not accepts(tokenizer, text, feed)
    assert not accepts(tokenizer, f"{small}\n{stop}", feed.model_copy(update={"choice": "feed"}))


@pytest.mark.parametrize(
    "parameters, why",
    [
        ({"properties": {"x": {"type": "string", "format": "date"}}}, "x: format cannot be"),
        ({"properties": {"x y": {}}}, "'x y' cannot stand"),
        ({"properties": {}, "required": ["x"]}, "x is required and not described"),
        ({"anyOf": [{"type": "object"}]}, "anyOf cannot be followed at the top"),
        ({"properties": {"x": {"type": "array", "uniqueItems": True}}}, "uniqueItems"),
        (MANY, "x98: it is put together from more than 10000 schemas"),
    ],
)
def test_what_tags_cannot_hold_is_named(parameters: dict[str, Any], why: str) -> None:
    tokenizer = tokenizer_of("calling with tags")
    prompt = tokenizer.render(HELLO)
    bad = Tools(offered=[STOP, Tool(name="bad", parameters=parameters)], choice="required")
    with pytest.raises(InvalidRequest, match=f"the parameters of bad: .*{why}"):
        tokenizer.check_format(tokenizer.call_format(prompt, bad, None))
    free = bad.model_copy(update={"choice": "auto"})
    tokenizer.check_format(tokenizer.call_format(prompt, free, None))


def accepts(tokenizer: Tokenizer, text: str, choice: str | Tools = "auto", **how: Any) -> bool:
    """Whether a text may be all that is said."""
    prompt = tokenizer.render(HELLO, how.pop("told", None))
    offered = tools(choice, **how) if isinstance(choice, str) else choice
    format = tokenizer.call_format(prompt, offered, None)
    constraint = tokenizer.constrain(json.loads(json.dumps(format)))
    assert constraint is not None
    try:
        for token in tokenizer.encode_bare(text):
            constraint.accept(token)
    except BackendFailed:
        return False
    return bool(constraint._matcher.is_accepting())


GOOD = '<tool_call>\n{"name": "add", "arguments": {"x": 12}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "stop", "arguments": {}}\n</tool_call>'


def test_what_a_choice_lets_a_model_write(calling: Tokenizer) -> None:
    for text in ("", "Just words", f"So:\n{GOOD}", f"{GOOD}\n{OTHER}", f"{GOOD} and so on"):
        assert accepts(calling, text)
    for text in ('<tool_call>\n{"name": "sub', '<tool_call>\n{"name": "add", "arguments": {"y"'):
        assert not accepts(calling, text)
    assert accepts(calling, f"{GOOD}\n{OTHER}", "required")
    assert not accepts(calling, "Just words", "required")
    assert not accepts(calling, f"{GOOD}\n{OTHER}", "required", parallel=False)
    assert not accepts(calling, f"{GOOD} and", parallel=False)
    assert accepts(calling, OTHER, "stop")
    assert not accepts(calling, GOOD, "stop")
    thinking = {"thinking": True}
    assert accepts(calling, f"Hm.\n</think>\n\n{GOOD}", "required", told=thinking)
    assert not accepts(calling, GOOD, "required", told=thinking)


def test_an_answer_is_of_its_form_or_calls(calling: Tokenizer) -> None:
    form = {"type": "json_schema", "schema": {"type": "object", "properties": {}}}
    format = calling.call_format(calling.render(HELLO), tools(), form)
    for text, fits in (("{}", True), (GOOD, True), ("words", False)):
        constraint = calling.constrain(format)
        assert constraint is not None
        tokens = calling.encode_bare(text)
        assert (constraint._matcher.validate_tokens(tokens) == len(tokens)) is fits


def test_a_schema_that_cannot_be_followed_is_named(calling: Tokenizer) -> None:
    bad = Tool(name="bad", parameters={"type": "array", "uniqueItems": True})
    format = calling.call_format(calling.render(HELLO), Tools(offered=[ADD, bad]), None)
    with pytest.raises(InvalidRequest, match=r"tools: .*the parameters of bad: .*uniqueItems"):
        calling.constrain(format)


def test_tools_and_calls_come_into_the_prompt(calling: Tokenizer) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"x": 2}}}
    turns = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "it is <|im_end|> 3"},
    ]
    prompt = calling.render(turns, {"tools": tools().shown})
    assert prompt.count("Functions:") == 1
    assert '{"name": "add", "arguments": {"x": 2}}\n</tool_call><|im_end|>' in prompt
    ends = calling.encode(prompt).count(calling._backend.token_to_id("<|im_end|>") or 0)
    assert ends == 4  # what a function gave is text, whatever it looks like
    for hidden in ([{**turns[1], "tool_calls": [{**call, "id": "<|im_end|>"}]}], HELLO):
        shown = {"tools": [{"function": {"name": "a", "description": "<|im_end|>"}}]}
        with pytest.raises(InvalidRequest, match="control token"):
            calling.render(hidden, None if hidden is not HELLO else shown)


OWN = {
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open_pattern": r"<\|call\|>(?P<name>\w+)",
            "close": "</call>",
            "repeats": True,
            "content": "json",
            "transform": {"function": {"name": "{name}", "arguments": "{content}"}},
        },
        "content": {"close": "<|im_end|>"},
    },
}


def with_template(own: dict[str, Any] | None, *special: str) -> Tokenizer:
    backend = vocabulary_of("calling")
    backend.add_special_tokens([AddedToken(each, normalized=False) for each in special])
    return Tokenizer(TokenizerFiles(backend, FAMILIES["calling"][1], answers=own))


def test_a_response_template_of_the_tokenizer_holds() -> None:
    tokenizer = with_template(OWN)
    read = told(tokenizer, list('So: <|call|>add {"x": 1}</call>'), calls=tools())
    assert read == [
        Part("content", "So: "),
        Part("name", "add"),
        Part("arguments", '{"x": 1}'),
    ]


def test_a_call_of_a_form_that_is_no_json_is_forced_as_json() -> None:
    """It is read as that; what the model calls of its own accord is read by its own template."""
    backend = vocabulary_of("chatml")
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{{ tools | tojson if tools }}"
    tokenizer = Tokenizer(TokenizerFiles(backend, template, answers=OWN))
    assert accepts(tokenizer, GOOD, "required")
    assert told(tokenizer, [GOOD], calls=tools("required")) == [
        Part("name", "add"),
        Part("arguments", '{"x": 12}'),
    ]
    own = '<|call|>add {"x": 1}</call>'
    assert told(tokenizer, [own], calls=tools())[0] == Part("name", "add")


def test_what_a_template_cannot_read_is_told_as_it_stands_however_it_is_cut() -> None:
    tokenizer = with_template(OWN)
    before = "So: " + "x" * 300
    text = f'{before}<|call|>add {{"x": 1}}</call>a<|call|>add no JSON</call> and more'
    expected = [Part("content", before), Part("name", "add"), Part("arguments", '{"x": 1}')]
    expected.append(Part("content", "a no JSON</call> and more"))
    assert told(tokenizer, [text], calls=tools()) == expected
    made = tokenizer.reader("", tokenizer.call_format("", tools(), None))
    assert made
    assert [each.kind for each in made.feed(before)] == ["content"]  # in one, however long
    assert told(tokenizer, ['<|call|>add {"x" </ca'], calls=tools()) == [
        Part("content", ' {"x" </ca')  # its limit
    ]
    for cut in (1, 3, 7):
        cuts = [text[begin : begin + cut] for begin in range(0, len(text), cut)]
        assert told(tokenizer, cuts, calls=tools()) == expected


def test_a_name_is_looked_for_at_the_beginning_of_a_call_alone(
    calling: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    class Counting:
        def match(self, text: str, begin: int = 0, end: int = 10**9) -> Any:
            looks.append(min(len(text), end))
            return named.match(text, begin, end)

    named = reader.CallText.NAMED
    monkeypatch.setattr(reader.CallText, "NAMED", Counting())
    endless = ["<tool_call>", '{"name": "', *["x" * 64] * 1000]
    assert told(calling, endless)[0].kind == "content"
    assert max(looks) <= 4096
    assert len(looks) < 100
    late = f'<tool_call>{{"name": "{"x" * 5000}", "arguments": {{}}}}</tool_call>'
    assert told(calling, [late]) == told(calling, list(late))


def test_a_model_that_knows_no_tools_is_told_of_them() -> None:
    tokenizer = tokenizer_of("chatml")
    shown = {"tools": tools().shown}
    assert tokenizer.render(HELLO) == tokenizer.render(HELLO, {})
    told_of = tokenizer.render(HELLO, shown)
    assert told_of.startswith("<|im_start|>system\nYou can call these functions")
    assert [each["role"] for each in told_of.messages] == ["user"]
    system = {"role": "system", "content": "Be <|im_end|> brief."}
    prompt = tokenizer.render([system, *HELLO], shown)
    assert "</tool_call>\n\nBe <|im_end|> brief.<|im_end|>" in prompt
    assert [prompt[a:b] for each in prompt.messages for a, b in each["at"]] == [
        system["content"],
        HELLO[0]["content"],
    ]
    with pytest.raises(Unsupported, match="cannot be left to this model"):
        tokenizer.call_format(prompt, tools(), None)
    format = tokenizer.call_format(prompt, tools("add"), None)
    assert format["described"]
    assert tokenizer.reader(prompt, None) is None
    reader = tokenizer.reader(prompt, format)
    assert reader is not None
    assert reader.feed(GOOD) == [Part("name", "add"), Part("arguments", '{"x": 12}')]


def test_a_call_is_told_once_however_a_template_writes_it() -> None:
    template = FAMILIES["chatml"][1].replace(
        "{{ message.content }}",
        "{{ message.content }}{{ message.tool_calls | tojson if message.tool_calls }}",
    )
    tokenizer = Tokenizer(TokenizerFiles(vocabulary_of("chatml"), template))
    call = {"type": "function", "function": {"name": "add", "arguments": {"x": 2}}}
    turns = [*HELLO, {"role": "assistant", "content": "", "tool_calls": [call]}]
    prompt = tokenizer.render([*turns, {"role": "tool", "content": "3"}])
    assert prompt.count('"name": "add"') == 1
    assert "<tool_call>" not in prompt
