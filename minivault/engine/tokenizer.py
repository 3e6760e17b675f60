"""Text to tokens and back, for any model folder; the user's text never becomes a special token."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import decoders

from minivault.engine.detokenizer import (
    ByteDetokenizer,
    Detokenizer,
    StoppableText,
    TokenBytes,
    WindowDetokenizer,
)
from minivault.errors import FieldError, InvalidRequest, ModelUnusable

RENDERED = "\ufdd0"
"""Begins every prompt that `Tokenizer.render` made: in these alone special tokens are read as such.

A Unicode noncharacter, which no text of the world contains. A prompt in the log that begins with it
gives the same tokens again.
"""

# tokenizer.json says all that transformers would make of a GPT-2 folder that names one of these.
_PLAIN_CLASSES = (
    None,
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
)
_ZERO_WIDTH_SPACE = "\u200b"
_OPEN = "\ufdd1"  # stands for a message that stays open while its turn is rendered


class Tokenizer:
    """The tokenizer of one model. Any thread may use it.

    `size` is one more than the largest token id, `end_ids` are the tokens that end a text. `chat`
    says that `render` works.
    """

    def __init__(self, folder: Path, backend: Backend) -> None:
        backend.no_truncation()
        backend.no_padding()
        self._folder = folder
        self._backend = backend
        self._plain = _without_special_tokens(backend)
        added = backend.get_added_tokens_decoder()
        self._names = {token.content for token in added.values() if not token.content.isspace()}
        self._special = frozenset(each for each, token in added.items() if token.special)
        self.size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        self._bytes = frozenset(_byte_tokens(backend))
        self._token_bytes = TokenBytes(backend.id_to_token, self._special)
        self.end_ids = _end_ids(folder)
        self.chat = _has_template(folder)

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt, with those the model wants around it (as a begin of text).

        What looks like a special token is read as text, except in what `render` made. Raises
        InvalidRequest for lone surrogates, which no tokenizer can read.
        """
        _refuse_surrogates(text)
        if self.chat and text.startswith(RENDERED):
            rendered = text.removeprefix(RENDERED)
            return list(self._backend.encode(rendered, add_special_tokens=False).ids)
        return list(self._plain.encode(text).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of all these tokens at once; special tokens make none."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=True))

    def text(self, prompt: Sequence[int], stop: Iterable[str] = ()) -> StoppableText:
        """The text of one sequence in the making, which goes on where `prompt` ends."""
        return StoppableText(self._detokenizer(prompt), stop)

    def token_text(self, token_id: int) -> str:
        """A token's own text, for people to read; a special token's name."""
        if token_id in self._special:
            return self._backend.id_to_token(token_id) or ""
        detokenizer = self._detokenizer(self._some_word)
        return detokenizer.push(token_id) + detokenizer.flush()

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt that the model's chat template makes of a conversation, for `encode`.

        `messages`: each with `role` and `content`. If the last one is the assistant's, it stays
        open: the prompt ends with its content, and the model writes on from there.
        A special token's name in a message gets a zero-width space inside, so that it stays text.
        Raises InvalidRequest for what the template refuses. The first call may take seconds.
        """
        from jinja2 import TemplateError

        turns = [{**each, "content": self._harmless(each["content"])} for each in messages]
        is_open = bool(turns) and turns[-1]["role"] == "assistant"
        begun = turns[-1].pop("content") if is_open else ""
        if is_open:
            turns[-1]["content"] = _OPEN  # whatever the template would trim stays as it is
        try:
            rendered = transformers_tokenizer(self._folder).apply_chat_template(
                turns, tokenize=False, add_generation_prompt=not is_open
            )
        except TemplateError as error:
            message = f"the model's chat template refuses this conversation: {error}"
            raise InvalidRequest([FieldError("messages", message)]) from error
        if is_open:
            rendered, found, _ = str(rendered).rpartition(_OPEN)
            if not found:
                message = (
                    "the model's chat template leaves out the last message, so nothing goes on"
                )
                raise InvalidRequest([FieldError("messages", message)])
        return RENDERED + str(rendered) + begun

    def _detokenizer(self, prompt: Sequence[int]) -> Detokenizer:
        if isinstance(self._backend.decoder, decoders.ByteLevel):
            return ByteDetokenizer(self._token_bytes)
        return WindowDetokenizer(
            self.decode, skipped=self._is_silent, bytes_=self._bytes, prompt=prompt
        )

    @cached_property
    def _some_word(self) -> list[int]:
        """Something for a token to follow, so that its leading space is not dropped."""
        return list(self._backend.encode("a", add_special_tokens=False).ids)

    def _is_silent(self, token_id: int) -> bool:
        """Special tokens make no text, nor do ids beyond the vocabulary (models are padded)."""
        return token_id in self._special or self._backend.id_to_token(token_id) is None

    def _harmless(self, content: str) -> str:
        for name in self._names:
            content = content.replace(name, name[0] + _ZERO_WIDTH_SPACE + name[1:])
        return content


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads the tokenizer of a model folder; a GPT-2's without importing transformers.

    Raises ModelUnusable.
    """
    try:
        return Tokenizer(folder, _backend(folder))
    except Exception as error:  # both libraries raise bare exceptions of any kind
        raise ModelUnusable(f"cannot read the tokenizer in {folder}: {error}") from error


def _backend(folder: Path) -> Backend:
    if _is_plain(folder):
        return Backend.from_file(str(folder / "tokenizer.json"))
    backend: Backend | None = getattr(transformers_tokenizer(folder), "backend_tokenizer", None)
    if backend is None:
        raise ValueError("it has only a slow form, which is not supported")
    return backend


@cache
def transformers_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder as transformers reads it, once; imports transformers."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _is_plain(folder: Path) -> bool:
    """Whether tokenizer.json alone is enough: transformers may add to it what the config says."""
    config = _read(folder / "tokenizer_config.json")
    return (
        (folder / "tokenizer.json").is_file()
        and _read(folder / "config.json").get("model_type") == "gpt2"
        and config.get("tokenizer_class") in _PLAIN_CLASSES
        and not any(
            config.get(f"add_{kind}") for kind in ("bos_token", "eos_token", "prefix_space")
        )
    )


def _end_ids(folder: Path) -> frozenset[int]:
    """As transformers: the generation config's end tokens, else the model's."""
    for name in ("generation_config.json", "config.json"):
        config = _read(folder / name)
        end = config.get("eos_token_id", config.get("text_config", {}).get("eos_token_id"))
        if end is not None:
            return frozenset(end if isinstance(end, list) else [end])
    return frozenset()


def _has_template(folder: Path) -> bool:
    written = (folder / "chat_template.jinja").is_file()
    return written or bool(_read(folder / "tokenizer_config.json").get("chat_template"))


def _read(file: Path) -> dict[str, Any]:
    """A JSON object of the model's folder; empty where the file does not exist."""
    if not file.is_file():
        return {}
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def _without_special_tokens(backend: Backend) -> Backend:
    """A copy that reads the names of special tokens as plain text."""
    plain = Backend.from_str(backend.to_str())
    plain.encode_special_tokens = True
    return plain


def _byte_tokens(backend: Backend) -> Iterable[int]:
    """The tokens that stand for one byte each, where the vocabulary falls back to bytes."""
    ids = (backend.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
    return (each for each in ids if each is not None)


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        message = "contains half of a surrogate pair, which is no character"
        raise InvalidRequest([FieldError("prompt", message)]) from None
