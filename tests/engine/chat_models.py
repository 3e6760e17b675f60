"""Chat models of several families, without weights: their tokenizers and templates in small."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from minivault.backends.base import Part, Reader
from minivault.engine.tokenizer import Tokenizer
from minivault.engine.tokenizer_files import TokenizerFiles
from tests.engine import vocabularies
from tests.engine.small_models import CHAT_TEMPLATE

CHATML = (
    "{%- if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{%- endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_3 = (
    "{{- bos_token }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set first = messages[0]['content'] + '\n\n' %}{% set rest = messages[1:] %}{% else %}"
    "{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '')"
    " + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
THINKING = (
    "{%- for message in messages %}{%- set said = message.content %}"
    "{%- if message.role == 'assistant' and '</think>' in said %}"
    "{%- set said = said.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>' + message.role + '\n' + said + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"
)
CALLING = (
    "{%- if tools %}<|im_start|>system\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}Functions:"
    "{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}<|im_end|>\n"
    "{% elif messages[0].role == 'system' %}"
    "<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
    "{%- for message in messages %}{% set said = message.content %}"
    "{%- if message.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ said }}\n"
    "</tool_response><|im_end|>\n"
    "{%- elif message.role == 'assistant' %}<|im_start|>assistant\n{{ said }}"
    "{%- for call in message.tool_calls %}{{ '\n' if said or not loop.first }}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|im_end|>\n"
    "{%- elif message.role == 'user' or not loop.first %}<|im_start|>{{ message.role }}\n"
    "{{ said }}<|im_end|>\n{% endif %}{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if thinking is defined %}{{ '<think>\n' if thinking else '<think>\n\n</think>\n\n' }}"
    "{% endif %}{% endif %}"
)
TAGGED = CALLING.replace(
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}',
    "<function={{ call.function.name }}>\n{% for key, value in call.function.arguments.items() %}"
    "<parameter={{ key }}>\n{{ value }}\n</parameter>\n{% endfor %}</function>",
)
PHI = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content']"
    " + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>")

FAMILIES: dict[str, tuple[str, str, list[str], list[str]]] = {
    "plain": ("pieces", CHAT_TEMPLATE, [], []),
    "chatml": ("bytes", CHATML, ["<|im_start|>", "<|im_end|>"], []),
    "chatml of added words": ("bytes", CHATML, [], ["<|im_start|>", "<|im_end|>"]),
    "llama 3": (
        "bytes",
        LLAMA_3,
        ["<s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        [],
    ),
    "gemma": ("pieces", GEMMA, ["<start_of_turn>", "<end_of_turn>"], ["<table>", "\n\n"]),
    "thinking": ("bytes", THINKING, ["<|im_start|>", "<|im_end|>"], ["<think>", "</think>"]),
    "calling": ("bytes", CALLING, ["<|im_start|>", "<|im_end|>"], list(MARKS)),
    "calling with tags": ("bytes", TAGGED, ["<|im_start|>", "<|im_end|>"], list(MARKS)),
    "phi": ("stripping", PHI, ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"], []),
}
"""Kind of vocabulary, template, special tokens, added tokens that are none."""


def vocabulary_of(family: str) -> Backend:
    """The vocabulary of a family, with its control tokens."""
    kind, _, special, added = FAMILIES[family]
    backend = vocabularies.sentence_piece() if kind == "pieces" else vocabularies.byte_level()
    strips = kind == "stripping"
    backend.add_special_tokens(
        [AddedToken(each, normalized=False, rstrip=strips) for each in special]
    )
    backend.add_tokens([AddedToken(each, normalized=False) for each in added])
    return backend


def tokenizer_of(family: str) -> Tokenizer:
    """The tokenizer of a family, from no files."""
    return Tokenizer(TokenizerFiles(vocabulary_of(family), FAMILIES[family][1]))


def save_chat_model(family: str, folder: Path) -> Path:
    """The tokenizer of a family, as transformers saves it."""
    template, backend = FAMILIES[family][1], vocabulary_of(family)
    folder.mkdir(parents=True, exist_ok=True)
    transformers: Any = importlib.import_module("transformers")
    begin = "<s>" if "<s>" in backend.get_vocab() else None
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=begin)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    return folder


def parts(reader: Reader, pieces: Iterable[str]) -> list[Part]:
    """What is read of an answer that comes in pieces; neighbours of one kind are joined."""
    found: list[Part] = []
    for part in [each for piece in pieces for each in reader.feed(piece)] + list(reader.end()):
        last = found[-1] if found else None
        if last and part.kind != "name" and (last.kind, last.call) == (part.kind, part.call):
            found[-1] = Part(part.kind, last.text + part.text, part.call)
        else:
            found.append(part)
    return found
