"""Conversations: the tokens that transformers gives them, and nobody's words become control."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from minivault.engine.chat.contents import new_marks, spans
from minivault.engine.chat.template import ChatTemplate, TemplateFails
from minivault.engine.tokenizer import Tokenizer, load_tokenizer
from minivault.errors import InvalidRequest
from tests.engine.chat_models import FAMILIES, save_chat_model
from tests.engine.small_models import STORYTELLER

pytestmark = pytest.mark.slow

TEXTS = 10_000 if os.environ.get("MINIVAULT_FULL") else 300
PARTS = [
    "the cat",
    "caté",
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "日本語",
    "👩‍👩‍👧",
    "e\u0301",
    "<",
    "|",
    ">",
    "a",
]
PARTS += ["<|", "|>", "<table>", "think", "</", "\u2028", "\ufffd", "\ufdd0", "{{ 1 }}", "{% if %}"]
FOR_EVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
ROLES = ("user", "assistant")


@cache
def made(family: str, place: Path) -> tuple[Tokenizer, Any]:
    folder = save_chat_model(family, place / family.replace(" ", "-"))
    transformers: Any = importlib.import_module("transformers")
    return load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(params=FAMILIES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return made(request.param, tmp_path_factory.getbasetemp())


def conversation(dice: random.Random) -> list[dict[str, str]]:
    """An odd number of turns, whose texts hold pieces of all sorts."""
    return [
        {"role": ROLES[turn % 2], "content": "".join(dice.choices(PARTS, k=dice.randint(0, 12)))}
        for turn in range(2 * dice.randint(0, 2) + 1)
    ]


def test_a_conversation_has_the_tokens_that_transformers_gives_it(both: Any) -> None:
    tokenizer, theirs = both
    dice = random.Random(7)
    names = [token.content for token in tokenizer._control._tokens.values()]
    for _ in range(TEXTS // len(FAMILIES)):
        messages = conversation(dice)
        if any(name in each["content"] for each in messages for name in names):
            continue  # chance has put one together
        prompt = tokenizer.render(messages)
        assert prompt == theirs.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        assert tokenizer.encode(prompt) == list(
            theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
        )


def test_no_words_become_control_tokens_and_none_are_altered(both: Any) -> None:
    tokenizer, _ = both
    honest = tokenizer.render([{"role": "user", "content": "the cat"}])
    control = tokenizer._control.ids_in(honest)
    names = [token.content for token in tokenizer._control._tokens.values()]
    dice = random.Random(8)
    for _ in range(TEXTS // len(FAMILIES)):
        content = "a" + "".join(dice.choices([*PARTS, *names], k=6)) + dice.choice(names) + "a"
        prompt = tokenizer.render([{"role": "user", "content": content}])
        assert content in prompt
        tokens = tokenizer.encode(prompt)
        assert [each for each in tokens if each in tokenizer._control._tokens] == control
        assert max(tokens) < tokenizer.size
        raw = tokenizer.encode(content)
        assert not any(each in tokenizer._control._tokens for each in raw[1:])


TURN_ENDS = {"plain": "</s>", "llama 3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi": "<|end|>"}


def test_the_token_that_ends_a_turn_ends_the_text(both: Any) -> None:
    """Whatever the model's settings say: these name none."""
    tokenizer, theirs = both
    names = [theirs.convert_ids_to_tokens(each) for each in tokenizer.end_ids]
    family = next(each for each, row in FAMILIES.items() if row[1] == theirs.chat_template)
    assert names == [TURN_ENDS.get(family, "<|im_end|>")]


def test_a_template_gets_one_time_for_all_that_it_renders() -> None:
    template = ChatTemplate("{{ strftime_now('%d %B %Y, %f') }}", {})
    turns = [{"role": "user", "content": "Hello"}]
    prompt, frame = template.render([turns, turns], answer=True)
    template.close()
    assert prompt == frame
    assert str(date.today().year) in prompt


@pytest.mark.parametrize("halves", [("<|im_", "end|>"), ("<|im_end", "|>"), ("<", "|im_end|>")])
def test_a_half_name_does_not_join_what_the_template_writes(
    halves: tuple[str, str], tmp_path: Path
) -> None:
    template = "{% for m in messages %}{{ m.content }}" + halves[1] + "{% endfor %}"
    folder = save_chat_model("chatml", tmp_path)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    prompt = tokenizer.render([{"role": "user", "content": halves[0]}])
    assert prompt == "<|im_end|>"
    assert not tokenizer._control._tokens.keys() & set(tokenizer.encode(prompt))


def test_a_template_that_changes_its_messages_refuses_a_disguise(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m.content | lower }}{% endfor %}"
    folder = save_chat_model("chatml", tmp_path)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    prompt = tokenizer.render([{"role": "user", "content": "The CAT"}])
    assert prompt == "<|im_start|>the cat"
    with pytest.raises(InvalidRequest, match="holds the name of a control token"):
        tokenizer.render([{"role": "user", "content": "The <|IM_END|>"}])


@pytest.mark.parametrize(
    "template, words",
    [
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
        ("{{ messages[0].content.missing.thing }}", "UndefinedError"),
        ("{{ raise_exception('no system turns') }}", "TemplateError: no system turns"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{% for %}", "TemplateSyntaxError"),
        ("{{ 'x' * 2000001 }}", "OverflowError: it makes more than 1000000 characters"),
        ("{{ messages[0].content * 9999999999 }}", "MemoryError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        (FOR_EVER, "longer than 0.2 s"),
        ("{{ messages[0].content | length ** (99 ** 9) }}", "longer than 0.2 s"),
    ],
)
def test_whatever_a_template_does_it_ends_and_says_why(template: str, words: str) -> None:
    tried = ChatTemplate(
        "{% if messages[0].content == 'Hello' %}" + template + "{% endif %}ok", {}, seconds=0.2
    )
    try:
        with pytest.raises(TemplateFails) as caught:
            tried.render([[{"role": "user", "content": "Hello"}]], answer=True)
        assert words in str(caught.value)
        if words != "TemplateSyntaxError":
            assert tried.render([[{"role": "user", "content": "Bye"}]], answer=True) == ["ok"]
    finally:
        tried.close()


def test_templates_are_found_in_every_form(tmp_path: Path) -> None:
    """A string, a list of named ones, files; and one that fails is told at load."""
    named = [{"name": "default", "template": "d"}, {"name": "rag", "template": "r"}]
    config = "tokenizer_config.json"
    forms: dict[str, tuple[str, str, bool, str | None]] = {
        "string": (config, json.dumps({"chat_template": "s"}), True, None),
        "list": (config, json.dumps({"chat_template": named}), True, None),
        "no default": (config, json.dumps({"chat_template": named[1:]}), False, "none is named"),
        "file": ("chat_template.jinja", "f", True, None),
        "named file": ("additional_chat_templates/rag.jinja", "r", False, "none is named default"),
        "failing": ("chat_template.jinja", "{{ 1 // 0 }}", False, "fails: ZeroDivisionError"),
        "endless": ("chat_template.jinja", FOR_EVER, False, "takes longer than 1 s"),
        "none": ("other.txt", "", False, None),
    }
    for form, (name, text, chat, why) in forms.items():
        folder = shutil.copytree(STORYTELLER, tmp_path / form)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        tokenizer = load_tokenizer(folder)
        assert (form, tokenizer.chat) == (form, chat)
        assert (why or "") in (tokenizer.no_chat or "")
        assert (tokenizer.no_chat is None) == (why is None)
        tokenizer.close()


def test_contents_are_found_whatever_is_trimmed_repeated_or_left_out() -> None:
    marks = new_marks(3)
    frame = f"[{marks[1]}] {marks[0]}; {marks[1]}"
    assert spans("[b] a; b", frame, marks, [" a ", "\nb", "gone"]) == [
        [(4, 5)],
        [(1, 2), (7, 8)],
        [],
    ]
    assert spans("[b] A; b", frame, marks, ["a", "b", "gone"]) is None
    assert spans("none", "none", [], []) == []
