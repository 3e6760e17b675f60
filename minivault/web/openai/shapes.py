"""The two shapes in which choices are told: chat completions and completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Entries = Sequence[Mapping[str, Any]]
"""Log probabilities of tokens, as our own events have them."""


class Shape(Protocol):
    """How a door tells its choices; `chunk` and `whole` are what its objects call themselves."""

    prefix: str
    chunk: str
    whole: str

    def opening(self, echo: str | None) -> dict[str, Any] | None:
        """The first part of a choice, before there is any text."""
        ...

    def piece(self, text: str) -> dict[str, Any]:
        """A part of a choice with text; empty in the last one and in those that keep alive."""
        ...

    def end(self) -> dict[str, Any]:
        """The part that tells the finish reason."""
        ...

    def all(self, text: str) -> dict[str, Any]:
        """A whole choice."""
        ...

    def logprobs(self, entries: Entries, offset: int) -> dict[str, Any]:
        """The log probabilities of tokens; the first one's text begins at `offset`."""
        ...


class Chat:
    """Messages and their deltas."""

    prefix = "chatcmpl-"
    chunk = "chat.completion.chunk"
    whole = "chat.completion"

    def opening(self, echo: str | None) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": ""}}

    def piece(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}}

    def end(self) -> dict[str, Any]:
        return {"delta": {}}

    def all(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def logprobs(self, entries: Entries, offset: int) -> dict[str, Any]:
        content = [
            {**_token(each), "top_logprobs": [_token(top) for top in each["top"]]}
            for each in entries
        ]
        return {"content": content, "refusal": None}


class Completion:
    """Texts. Their log probabilities come in four lists, as they always have."""

    prefix = "cmpl-"
    chunk = "text_completion"
    whole = "text_completion"

    def opening(self, echo: str | None) -> dict[str, Any] | None:
        return self.piece(echo) if echo else None

    def piece(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def end(self) -> dict[str, Any]:
        return self.piece("")

    def all(self, text: str) -> dict[str, Any]:
        return self.piece(text)

    def logprobs(self, entries: Entries, offset: int) -> dict[str, Any]:
        offsets = []
        tops: list[dict[str, float] | None] = []  # None for a token that nothing is before
        for each in entries:
            offsets.append(offset)
            offset += len(each["token"])
            likeliest = {_name(top): top["logprob"] for top in (*each["top"], each)}
            tops.append(None if each["logprob"] is None else likeliest)
        return {
            "tokens": [_name(each) for each in entries],
            "token_logprobs": [each["logprob"] for each in entries],
            "top_logprobs": tops,
            "text_offset": offsets,
        }


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    own = entry.get("bytes")
    spelled = list(entry["token"].encode()) if own is None else own
    return {"token": entry["token"], "logprob": entry["logprob"], "bytes": spelled}


def _name(entry: Mapping[str, Any]) -> str:
    """A token's text; where that is no whole character its bytes, so that names differ."""
    own = entry.get("bytes")
    if own is None:
        return str(entry["token"])
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in own)


SHAPES: Mapping[str, Shape] = {"openai.chat": Chat(), "openai.completions": Completion()}
