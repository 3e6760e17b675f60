"""Turns tokens into text one by one, exactly as if all of them were decoded at once at the end."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import islice

from minivault.engine.sequence import TextStream
from minivault.stop_strings import StopStrings


class ByteDetokenizer:
    """For byte-level BPE: every token is a run of bytes, and the text is their UTF-8."""

    stopped = False

    def __init__(self, token_bytes: TokenBytes) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._token_bytes[token_id])

    @property
    def held(self) -> str:
        return self._decoder.getstate()[0].decode("utf-8", "replace")

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


class TokenBytes(dict[int, bytes]):
    """The bytes of each token of a byte-level BPE, looked up once; none for special tokens."""

    def __init__(self, token_of: Callable[[int], str | None], special: Container[int]) -> None:
        """`token_of`: the vocabulary's spelling of an id, None for an id that it lacks."""
        self._token_of = token_of
        self._special = special

    def __missing__(self, token_id: int) -> bytes:
        token = None if token_id in self._special else self._token_of(token_id)
        try:
            data = bytes(_BYTES[letter] for letter in token or "")
        except KeyError:  # an added token is not spelled in the byte alphabet: it is plain text
            data = (token or "").encode("utf-8", "replace")
        self[token_id] = data
        return data


# The letter that byte-level BPE spells each byte with (Radford et al. 2019, GPT-2): printable
# Latin-1 characters stand for themselves, the other bytes for U+0100 and up, in order.
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + place): byte for place, byte in enumerate(_OTHERS)
}


class WindowDetokenizer:
    """For every other tokenizer: decodes the new tokens behind the last one that was said.

    That one gives them their context: such decoders treat the first token of a text in a special
    way (SentencePiece drops its leading space). Bytes are held back until their run has ended,
    because one wrong byte turns all of a run into U+FFFD; so is text that ends in U+FFFD, which
    may be half a character.
    """

    stopped = False

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        *,
        skipped: Callable[[int], bool],
        bytes_: Container[int],
        prompt: Sequence[int] = (),
    ) -> None:
        """`skipped`: whether a token makes no text. `bytes_`: tokens that stand for one byte each.

        `prompt`: what the tokens continue. Its text is not repeated.
        """
        self._decode = decode
        self._skipped = skipped
        self._bytes = bytes_
        self._context = self._last_said(reversed(prompt))
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        if self._skipped(token_id):
            return ""
        self._pending.append(token_id)
        if token_id in self._bytes:
            return ""
        text = self._new_text()
        return "" if text.endswith("\ufffd") else self._say(text)

    @property
    def held(self) -> str:
        return self._new_text() if self._pending else ""

    def flush(self) -> str:
        return self._say(self._new_text())

    def _new_text(self) -> str:
        known = len(self._decode(self._context))
        return self._decode([*self._context, *self._pending])[known:]

    def _say(self, text: str) -> str:
        self._context = self._last_said(reversed(self._pending)) or self._context
        self._pending = []
        return text

    def _last_said(self, tokens: Iterable[int]) -> list[int]:
        """The first of `tokens` that is neither special nor a byte."""
        said = (each for each in tokens if not self._skipped(each) and each not in self._bytes)
        return list(islice(said, 1))


class StoppableText:
    """A text up to the first stop string."""

    def __init__(self, text: TextStream, stop: Iterable[str]) -> None:
        self._text = text
        self._stops = StopStrings(stop)
        self.stopped = False  # true once a stop string is complete; nothing more is said then
        self.held = ""  # what `flush` would say: a stop string that it completes counts

    def push(self, token_id: int) -> str:
        text = self._stops.push(self._text.push(token_id))
        self.stopped = self._stops.matched
        self.held = self._stops.ending(self._text.held)
        return text

    def flush(self) -> str:
        self.held = ""
        return self._stops.push(self._text.flush()) + self._stops.flush()
