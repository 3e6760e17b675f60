"""One text in the making: its prompt, what was asked for, and what came out so far."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from minivault.schemas import FinishReason


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are drawn; the neutral values draw from the model's own distribution.

    `temperature` 0 is greedy; `top_k` 0, `top_p` 1, `repetition_penalty` 1 and the zeros are off.
    `top_logprobs` is how many alternatives to report; 0 reports no log probabilities at all, but
    with `logprobs` those of the tokens themselves.
    """

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    top_logprobs: int = 0
    stop: tuple[str, ...] = ()
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: bool = False
    prompt_logprobs: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether the C kernels draw by it."""
        return not (
            self.min_p or self.frequency_penalty or self.presence_penalty or self.logit_bias
        )


class State(StrEnum):
    """Where a sequence stands; it only ever goes down this list."""

    WAITING = "waiting"
    PREFILL = "prefill"
    RUNNING = "running"
    ENDED = "ended"


class TextStream(Protocol):
    """Turns the tokens of one sequence into text that may be sent; stop strings are applied here.

    Used by the engine's thread alone, in this order: `push` for every token drawn (an end token is
    never pushed); as soon as `stopped` is true nothing more is pushed or flushed. In every other
    case the sequence ends with one `flush`.
    """

    @property
    def stopped(self) -> bool:
        """True once a stop string is complete; the text before it has been returned then."""
        ...

    def push(self, token_id: int) -> str:
        """The text that is certain now; empty while a character or a stop string may be half."""
        ...

    def flush(self) -> str:
        """The text that was held back; called once, at the end."""
        ...

    @property
    def held(self) -> str:
        """What `flush` would say now; asked for after every `push`."""
        ...


class Constraint(Protocol):
    """What a text is held to. Used by one thread at a time; begins prepared."""

    @property
    def cost(self) -> float:
        """Seconds that `prepare` will take, as far as it is known."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether nothing may follow."""
        ...

    def prepare(self) -> None:
        """Finds out what may come next, behind `accept`; what it raises ends the text."""
        ...

    def apply(self, row: npt.NDArray[np.float32]) -> None:
        """Makes what may not come next impossible, in place."""
        ...

    def accept(self, token: int) -> None:
        """Goes on behind a token."""
        ...


class Sequence:
    """One text in the making. Made by the caller, then owned by the engine until it ends.

    `owner` is the caller's own: the engine hands it back untouched in every output.
    `forced` are tokens that come next whatever is drawn: the rest of a prompt that is scored.
    `group`: only sequences of the same one reuse each other's prefilled beginnings.
    `cache` is the runner's own: whatever it keeps for this sequence between two calls. It counts
    the tokens that it `drafted`, those of them that were `accepted`, and those of the prompt that
    it `reused`: they were computed for a sequence before this one.
    `mask` is what finds out, beside the steps of others, what may come next (see `masks`); `waited`
    are the seconds for which this one sat out of them.
    """

    __slots__ = (
        "_tokens",
        "accepted",
        "asks_logprobs",
        "cache",
        "cancelled",
        "constraint",
        "drafted",
        "forced",
        "generated",
        "group",
        "mask",
        "owner",
        "params",
        "prompt",
        "reused",
        "state",
        "text",
        "waited",
    )

    def __init__(
        self,
        prompt: list[int] | tuple[int, ...],
        params: SamplingParams,
        text: TextStream,
        owner: Any = None,
        group: str = "",
        constraint: Constraint | None = None,
        forced: tuple[int, ...] = (),
    ) -> None:
        """`prompt`: at least one token id, and at most the context length minus one."""
        self.prompt = tuple(prompt)
        self.params = params
        self.asks_logprobs = params.logprobs or params.top_logprobs > 0
        self.constraint = constraint
        self.forced = forced
        self.text = text
        self.owner = owner
        self.group = group
        self.generated: list[int] = []
        self.state = State.WAITING
        self.cache: Any = None
        self.cancelled = False
        self.drafted = self.accepted = 0
        self.reused = 0
        self.mask: Future[None] | None = None
        self.waited = 0.0
        self._tokens = np.array(self.prompt, np.intp)

    @property
    def is_plain(self) -> bool:
        """Whether the C kernels can draw its tokens; else `sampler.redrawn` does."""
        return self.params.is_plain and self.constraint is None and not self.forced

    @property
    def is_ready(self) -> bool:
        """Whether its next token can be drawn."""
        return self.mask is None or self.mask.done()

    @property
    def own(self) -> list[int]:
        """The tokens of the text itself."""
        return self.generated[len(self.forced) :] if self.forced else self.generated

    def tokens(self) -> npt.NDArray[np.intp]:
        """The ids of all tokens so far, prompt and text."""
        fresh = self.generated[len(self._tokens) - len(self.prompt) :]
        if fresh:
            self._tokens = np.append(self._tokens, fresh)
        return self._tokens

    def part(self, begin: int, end: int) -> tuple[int, ...]:
        """The ids of the tokens from one place up to another."""
        told = len(self.prompt)
        drawn = self.generated[max(0, begin - told) : max(0, end - told)]
        return (*self.prompt[begin:end], *drawn)

    @property
    def last_token(self) -> int:
        """The token that the next decode feeds: the last one drawn, or the prompt's last."""
        return self.generated[-1] if self.generated else self.prompt[-1]

    @property
    def most_tokens(self) -> int:
        """How many tokens it can come to hold: the prompt and all that may be drawn."""
        return len(self.prompt) + len(self.forced) + self.params.max_tokens


@dataclass(frozen=True, slots=True)
class TokenChoice:
    """A drawn token's log probability and the likeliest tokens in its place, likeliest first.

    Of the model's own distribution: before penalty, temperature and cuts. Natural logarithms.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What one step brought for one sequence.

    `token_id` is the token that was drawn; None where none counts (end of text, cancelled, failed).
    `text` may be empty, and may stand for tokens of earlier outputs that were held back.
    `tail` is what is held back after it: the caller's to say if it stops reading here.
    `score` is that of a token of the prompt, where they are scored.
    `choice` is set where log probabilities were asked for and a token counts.
    `finish` is set in a sequence's last output: STOP, LENGTH, CANCELLED or ERROR; ERROR comes with
    `error`.
    """

    sequence: Sequence
    text: str = ""
    token_id: int | None = None
    choice: TokenChoice | None = None
    finish: FinishReason | None = None
    error: Exception | None = None
    tail: str = ""
    score: TokenChoice | None = None
