"""Text to tokens and back, for any model folder; the user's text never becomes a special token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import decoders

from minivault.backends.base import Reader, Rendered
from minivault.engine.chat.answers import AnswerForm
from minivault.engine.chat.contents import new_marks, spans
from minivault.engine.chat.forms import form_of
from minivault.engine.chat.template import ChatTemplate, TemplateFails
from minivault.engine.control import ControlTokens
from minivault.engine.detokenizer import (
    ByteDetokenizer,
    StoppableText,
    TokenBytes,
    WindowDetokenizer,
)
from minivault.engine.grammar import Constraint, Grammars
from minivault.engine.sequence import TextStream
from minivault.engine.tokenizer_files import TokenizerFiles, end_tokens, read_files
from minivault.errors import FieldError, InvalidRequest, ModelUnusable, in_short
from minivault.text_request import Tools


class Tokenizer:
    """The tokenizer of one model. Any thread may use it.

    `size` is one more than the largest token id, `end_ids` are the tokens that end a text. `chat`
    says that `render` works; `no_chat` why not, where there is a chat template.
    """

    def __init__(self, files: TokenizerFiles, end_ids: frozenset[int] = frozenset()) -> None:
        self._backend = backend = files.backend
        backend.no_truncation()
        backend.no_padding()
        self._control = ControlTokens(backend, files.template or "")
        added = backend.get_added_tokens_decoder()
        self._special = frozenset(each for each, token in added.items() if token.special)
        self.size = 1 + max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        # The tokens that stand for one byte each, where the vocabulary falls back to bytes.
        ids = [backend.token_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        self._bytes = frozenset(each for each in ids if each is not None)
        self._token_bytes = TokenBytes(backend.id_to_token, self._special)
        self.info = {**files.names, "chat_template": files.template}
        self._template = ChatTemplate(files.template, files.names) if files.template else None
        self.no_chat = files.no_template or None
        if self._template is not None and self.no_chat is None:
            try:
                self._template.render([[{"role": "user", "content": "Hello"}]], answer=True)
            except TemplateFails as error:
                self.no_chat = f"its chat template fails: {error}"
        self.chat = self._template is not None and self.no_chat is None
        self._answers = AnswerForm()
        if self._template is not None and self.chat:
            hidden = [token.content for token in added.values() if token.special]
            self._answers = form_of(self._template, files.template or "", files.answers, hidden)
        self.end_ids = end_ids | self._turn_ends()
        self._names = {added[each].content: each for each in self._special}
        self._grammars = Grammars(backend.to_str(), self.end_ids, self._names)
        self.begin_id = self._begin(files.names, end_ids)

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt, with those the model wants around it (as a begin of text).

        What looks like a control token is text, but for those of the template in what `render`
        made. Raises InvalidRequest for lone surrogates, which no tokenizer can read.
        """
        _refuse_surrogates(text)
        if isinstance(text, Rendered):
            places = sorted((begin, end) for each in text.messages for begin, end in each["at"])
            return self._control.encode_prompt(str(text), places)
        return self._control.encode_text(text)

    def encode_bare(self, text: str) -> list[int]:
        """The tokens of a text alone. Raises InvalidRequest for lone surrogates."""
        _refuse_surrogates(text)
        return self._control.encode_bare(text)

    def check_format(self, format: Mapping[str, Any]) -> None:
        """Raises InvalidRequest for a format that no text can be held to; see `Grammars`."""
        self._grammars.check(format)

    def constrain(self, format: Mapping[str, Any]) -> Constraint | None:
        """What holds one text to a format; None for calls that are written freely.

        Raises InvalidRequest.
        """
        return self._grammars.constraint(format)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of all these tokens at once; special tokens make none."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=True))

    def text(
        self,
        prompt: Sequence[int],
        stop: Sequence[str] = (),
        format: Mapping[str, Any] | None = None,
    ) -> TextStream:
        """The text of one sequence in the making, which goes on where `prompt` ends.

        `format`: what it is held to. Special tokens that mark calls in it (its `marks`) make text.
        """
        text: TextStream
        silent, decode, known = self._special, self.decode, self._token_bytes
        if marks := (format or {}).get("marks"):
            silent -= {self._names.get(each, -1) for each in marks}
            decode, known = self.spell, TokenBytes(self._backend.id_to_token, silent)
        if isinstance(self._backend.decoder, decoders.ByteLevel):
            text = ByteDetokenizer(known)
        else:  # ids beyond the vocabulary make no text either: models are padded
            text = WindowDetokenizer(
                decode,
                skipped=lambda token: token in silent or self._backend.id_to_token(token) is None,
                bytes_=self._bytes,
                prompt=prompt,
            )
        return StoppableText(text, stop) if stop else text

    @cached_property
    def _some_word(self) -> list[int]:
        """Something for a token to follow, so that its leading space is not dropped.

        Not at load: a vocabulary of whole words may lack it, and serves all the same.
        """
        return list(self._backend.encode("a", add_special_tokens=False).ids)

    def token_text(self, token_id: int) -> str:
        """A token's own text, for people to read; a special token's name."""
        if token_id in self._special:
            return self._backend.id_to_token(token_id) or ""
        text = self.text(self._some_word)
        return text.push(token_id) + text.flush()

    def token_bytes(self, token_id: int) -> bytes:
        """A token's own bytes, also where they are no whole character."""
        if isinstance(self._backend.decoder, decoders.ByteLevel):
            return self._token_bytes[token_id]
        if token_id in self._bytes:
            return bytes.fromhex((self._backend.id_to_token(token_id) or "")[3:5])
        return self.token_text(token_id).encode("utf-8", "replace")

    def spell(self, token_ids: Sequence[int]) -> str:
        """The text of tokens that somebody gives as a prompt: special tokens by their names."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=False))

    def render(
        self, messages: Sequence[Mapping[str, Any]], told: Mapping[str, Any] | None = None
    ) -> Rendered:
        """The prompt that the model's chat template makes of a conversation, for `encode`.

        `messages`: each with `role` and `content`. If the last one is the assistant's, it stays
        open: the prompt ends with its content, and the model writes on from there. `told`: what
        else the template can read. Where it has no place for `tools`, and for calls that were made,
        they are told as texts. Raises InvalidRequest for what the template refuses, or takes too
        long over.
        """
        assert self._template is not None
        self._refuse_control_tokens(messages, told)
        marks = new_marks(len(messages))
        contents = [each["content"] for each in messages]
        is_open = messages[-1]["role"] == "assistant"
        given = list(contents)
        if is_open:
            given[-1] = marks[-1]  # whatever the template would trim stays as it is
        marked = [mark if each else each for each, mark in zip(given, marks, strict=True)]
        pair = [self._answers.shown(messages, texts, told or {}) for texts in (given, marked)]
        names = self._answers.names(told or {})
        try:
            prompt, frame = self._template.render(pair, answer=not is_open, names=names)
        except TemplateFails as error:
            raise _refused(
                f"the model's chat template fails on this conversation: {error}"
            ) from error
        if is_open:
            if marks[-1] not in prompt or marks[-1] not in frame:
                raise _refused(
                    "the model's chat template leaves out the last message, so nothing goes on"
                )
            prompt = prompt.rpartition(marks[-1])[0] + contents[-1]
            frame = frame.rpartition(marks[-1])[0] + (marks[-1] if contents[-1] else "")
        places = spans(prompt, frame, marks, contents)
        if places is None:
            # A template that changes its messages must write the same control tokens without them.
            if self._control.ids_in(prompt) != self._control.ids_in(frame):
                raise _refused(
                    "a message holds the name of a control token, and the model's chat template "
                    "changes it, so that the two cannot be told apart"
                )
            places = [[] for _ in messages]
        told_of = [dict(each) | {"at": at} for each, at in zip(messages, places, strict=True)]
        return Rendered(prompt, told_of)

    def call_format(
        self, prompt: str, tools: Tools, text: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The format of an answer in which functions may be called, for `constrain` and `reader`.

        `text`: the format of an answer that calls none. Raises Unsupported.
        """
        return self._answers.call_format(prompt, tools, text)

    def reader(self, prompt: str, format: Mapping[str, Any] | None) -> Reader | None:
        """What reads the answer to a prompt; None where it is plain text. Imports transformers."""
        return self._answers.reader(prompt, format)

    def close(self) -> None:
        """Ends the process that renders; it would start again."""
        if self._template is not None:
            self._template.close()

    def _begin(self, names: Mapping[str, str], ends: frozenset[int]) -> int | None:
        """The token that a text begins with: its own, else one that ends the text before it."""
        name = names.get("bos_token")
        known = self._backend.token_to_id(name) if name else None
        return min(ends, default=None) if known is None else known

    def _turn_ends(self) -> frozenset[int]:
        """The control token that the template ends an answer with, if there is one.

        Many files name the end of a text alone, and a model would go on with the user's turn.
        """
        if self._template is None or not self.chat:
            return frozenset()
        (mark,) = new_marks(1)
        turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": mark}]
        try:
            (prompt,) = self._template.render([turns], answer=False)
        except TemplateFails:
            return frozenset()
        end = self._control.first_from(prompt, prompt.find(mark)) if mark in prompt else None
        return frozenset() if end is None else frozenset({end})

    def _refuse_control_tokens(
        self, messages: Sequence[Mapping[str, Any]], told: Mapping[str, Any] | None
    ) -> None:
        """Where templates write JSON, a control token's name could not be told from the token."""
        calls = [each["tool_calls"] for each in messages if each.get("tool_calls")]
        for field, value in (("messages", calls), ("tools", told)):
            if value and self._control.ids_in(json.dumps(value, ensure_ascii=False)):
                message = "hold the name of a control token of this model, which a prompt may not"
                raise InvalidRequest([FieldError(field, message)])


def load_tokenizer(folder: Path) -> Tokenizer:
    """Reads the tokenizer of a model folder, or of a GGUF file.

    A GPT-2's and a GGUF's without importing transformers. Raises ModelUnusable.
    """
    try:
        return Tokenizer(read_files(folder), end_tokens(folder))
    except ModelUnusable:
        raise
    except BaseException as error:  # both libraries raise anything
        raise ModelUnusable(f"cannot read the tokenizer in {folder}: {in_short(error)}") from error


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        message = "contains half of a surrogate pair, which is no character"
        raise InvalidRequest([FieldError("prompt", message)]) from None


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest([FieldError("messages", message)])
