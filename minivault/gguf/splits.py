"""How byte-level tokenizers cut a text before they merge: by the name that a GGUF file gives it.

A wrong cut gives wrong tokens and no error, so a name that does not stand here is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

_CONTRACTIONS = r"'s|'t|'re|'ve|'m|'ll|'d"
_ANY_CASE = rf"(?i:{_CONTRACTIONS})"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = rf"{_CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"


def _words(letters: str, digits: str, signs: str = r"\p{L}\p{N}") -> str:
    """The form that Llama 3 and Qwen share: contractions, words, digits, signs, blanks."""
    marks = rf" ?[^\s{signs}]+[\r\n]*"
    return rf"{_ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?{letters}+|{digits}|{marks}|{_BLANKS}"


def _cased_words(ending: str, digits: str) -> str:
    """The form that Tekken and GPT-4o share: a word ends where small letters turn to capitals."""
    first = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
    small = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    marks = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
    return rf"{first}*{small}+{ending}|{first}+{small}*{ending}|{digits}|{marks}|{_BLANKS}"


@dataclass(frozen=True, slots=True)
class Split:
    """`patterns` cut one after the other. `whole_words`: a word that is a token is not merged.

    `begins`: whether a text begins with the begin-of-text token, where the file does not say.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    begins: bool = False


_ONE_DIGIT = Split((_DIGIT, _GPT2))
_PLAIN = Split((_GPT2,))
_LLAMA3 = Split((_words(r"\p{L}", r"\p{N}{1,3}"),), whole_words=True, begins=True)
_CL100K = Split(_LLAMA3.patterns)
_QWEN2 = Split((_words(r"\p{L}", _DIGIT),))
_QWEN35 = Split((_words(r"[\p{L}\p{M}]", _DIGIT, r"\p{L}\p{M}\p{N}"),))
_TEKKEN = Split((_cased_words("", _DIGIT),), whole_words=True, begins=True)
_GPT4O = Split((_cased_words(rf"{_ANY_CASE}?", r"\p{N}{1,3}"),))

#: By `tokenizer.ggml.pre`.
SPLITS = {
    "gpt-2": _PLAIN,
    "phi-2": _PLAIN,
    "mpt": _PLAIN,
    "olmo": _PLAIN,
    "smollm": _ONE_DIGIT,
    "starcoder": _ONE_DIGIT,
    "refact": _ONE_DIGIT,
    "command-r": _ONE_DIGIT,
    "codeshell": _ONE_DIGIT,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "lfm2": _LLAMA3,
    "dbrx": _CL100K,
    "smaug-bpe": _CL100K,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "qwen35": _QWEN35,
    "tekken": _TEKKEN,
    "gpt-4o": _GPT4O,
}
