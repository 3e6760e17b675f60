"""Small vocabularies, as the metadata of a GGUF file says them."""

from __future__ import annotations

from typing import Any

from tokenizers import pre_tokenizers

from tests.gguf.files import Typed

PLAIN, UNKNOWN, CONTROL, ADDED, BYTE = 1, 2, 3, 4, 6

TEMPLATE = (
    "{% for message in messages %}<|turn|>{{ message.role }}: {{ message.content }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|turn|>assistant: {% endif %}"
)


def byte_level(**more: Any) -> dict[str, Any]:
    """Every byte, a few merges; an end, a turn's mark and an added word at the end."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = ["c a", "ca t", "Ġ cat", "h e", "Ġ he", "1 2", "12 3"]
    made = [merge.replace(" ", "") for merge in merges]
    extra = ["<|endoftext|>", "<|im_end|>", "<|turn|>", "<think>"]
    kinds = [PLAIN] * (len(letters) + len(made)) + [CONTROL, CONTROL, CONTROL, ADDED]
    return _keys(
        model="gpt2",
        pre="smollm",
        tokens=[*letters, *made, *extra],
        token_type=[Typed("i", kind) for kind in kinds],
        merges=merges,
        eos_token_id=len(letters) + len(made),
    ) | _keys(**more)


def sentence_piece(**more: Any) -> dict[str, Any]:
    """Pieces with scores, bytes for the rest; `he` is better than `eh`."""
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = ["ca", "cat", "▁cat", "at", "he", "▁he", "eh", *"▁abcdehst"]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[PLAIN] * len(pieces), ADDED]
    scores = [0.0] * 259 + [-float(place) for place in range(len(pieces))] + [0.0]
    return _keys(
        model="llama",
        tokens=[*special, *bytes_, *pieces, "<table>"],
        token_type=[Typed("i", kind) for kind in kinds],
        scores=scores,
        bos_token_id=1,
        eos_token_id=2,
        unknown_token_id=0,
    ) | _keys(**more)


def _keys(**values: Any) -> dict[str, Any]:
    return {f"tokenizer.ggml.{key}": value for key, value in values.items()}
