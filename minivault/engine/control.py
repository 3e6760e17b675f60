"""Control tokens: read as such where the model's template wrote them, as text where people did."""

from __future__ import annotations

import secrets
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Encoding
from tokenizers import Tokenizer as Backend

Span = tuple[int, int]
"""Beginning and end, in characters."""


@dataclass(frozen=True, slots=True)
class Found:
    """A control token in a prompt: its id, and where its name stands."""

    token_id: int
    begin: int
    end: int


class ControlTokens:
    """The special tokens of a vocabulary, and the added ones that its chat template writes.

    Other added tokens are words like any other: they only shorten what they stand for.
    """

    def __init__(self, backend: Backend, template: str = "") -> None:
        added = backend.get_added_tokens_decoder()
        self._backend = backend
        self._tokens = {
            each: token
            for each, token in added.items()
            if token.special or (token.content.strip() and token.content in template)
        }
        self._stand_ins = {
            (left, right): AddedToken(
                f"\ue000{secrets.token_hex(12)}\ue000", lstrip=left, rstrip=right, normalized=False
            )
            for left in (False, True)
            for right in (False, True)
        }
        self._text = self._for_text()
        self._stand_in_ids = {
            self._text.token_to_id(token.content) for token in self._stand_ins.values()
        }

    def encode_text(self, text: str) -> list[int]:
        """The tokens of what people wrote, with those that the model wants around it."""
        return _ids(self._text, text, special=True)

    def encode_bare(self, text: str) -> list[int]:
        """The same without those tokens."""
        return list(self._text.encode(text, add_special_tokens=False).ids)

    def encode_prompt(self, prompt: str, contents: Sequence[Span]) -> list[int]:
        """The tokens of what a template made; what stands in `contents`, in order, is text.

        They are those of the prompt as a whole, unless a content looks like a control token.
        """
        encoding = self._backend.encode_batch([prompt], add_special_tokens=False)[0]
        ids = list(encoding.ids)
        found = self._found(prompt, ids, encoding)
        own = [each for each in found if not _overlaps(each, contents)]
        if len(own) == len(found):
            return ids
        # The others are text: each of its own is replaced by a stand-in that no text can hold.
        parts, at = [], 0
        for each in own:
            token = self._tokens[each.token_id]
            stand_in = self._stand_ins[token.lstrip, token.rstrip]
            parts += [prompt[at : each.begin], stand_in.content]
            at = each.end
        ids = _ids(self._text, "".join([*parts, prompt[at:]]))
        own_ids = iter([each.token_id for each in own])
        return [next(own_ids) if each in self._stand_in_ids else each for each in ids]

    def ids_in(self, prompt: str) -> list[int]:
        """The control tokens of a prompt, in order."""
        return [each for each in _ids(self._backend, prompt) if each in self._tokens]

    def first_from(self, prompt: str, begin: int) -> int | None:
        """The first control token of a prompt that stands there or later; None without any."""
        encoding = self._backend.encode(prompt, add_special_tokens=False)
        found = self._found(prompt, encoding.ids, encoding)
        return next((each.token_id for each in found if each.begin >= begin), None)

    def _found(self, prompt: str, ids: Sequence[int], encoding: Encoding) -> list[Found]:
        """A token that takes the blanks around it along says more than where its name stands."""
        found = []
        for index, token_id in enumerate(ids):
            if token := self._tokens.get(token_id):
                begin, end = encoding.token_to_chars(index) or encoding.offsets[index]
                place = max(begin, prompt.find(token.content, begin, end))
                found.append(Found(token_id, place, min(end, place + len(token.content))))
        return found

    def _for_text(self) -> Backend:
        """A copy of the tokenizer that reads the names of control tokens as plain text."""
        text = Backend.from_str(self._backend.to_str())
        text.add_special_tokens(
            [
                AddedToken(
                    token.content,
                    lstrip=token.lstrip,
                    rstrip=token.rstrip,
                    single_word=token.single_word,
                    normalized=token.normalized,
                    special=True,
                )
                for token in self._tokens.values()
                if not token.special
            ]
        )
        text.encode_special_tokens = True
        text.add_tokens(list(self._stand_ins.values()))
        return text


def _ids(backend: Backend, text: str, *, special: bool = False) -> list[int]:
    """The tokens of a text, as a batch of one: `encode` holds Python's lock for all of its time,
    a second for a long prompt, and everybody else would wait."""
    return list(backend.encode_batch_fast([text], add_special_tokens=special)[0].ids)


def _overlaps(found: Found, contents: Sequence[Span]) -> bool:
    """Whether a token's name reaches into one of these places, which are in order."""
    after = bisect_right(contents, (found.begin, found.begin))
    before = contents[after - 1] if after else (0, 0)
    following = contents[after] if after < len(contents) else (found.end, found.end)
    return before[1] > found.begin or following[0] < found.end
