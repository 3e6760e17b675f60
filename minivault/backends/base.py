"""The seam between MiniVault and whatever makes the text.

A backend is any object with `info` and an async generator method `generate(request)`:

    class Shout:
        info = ModelInfo(name="shout", context_length=1024)

        async def generate(self, request):
            for word in request.prompt.split():
                yield word.upper() + " "

It yields `str` or `Piece`, and may end with a `Finish`. When the generator is closed, the work must
stop at the next token. Everything else here is optional; see `Backend`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from minivault.schemas import EffectiveParameters, FinishReason


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer as it is read: what is said, what was thought, or a call.

    `name` begins the call number `call` of the answer and is its function's name; `arguments` are
    the next letters of that call's JSON.
    """

    kind: Literal["content", "reasoning", "name", "arguments"]
    text: str
    call: int = 0


class Reader(Protocol):
    """Reads one answer as it is made. Its parts depend on the text alone."""

    def feed(self, text: str) -> Sequence[Part]:
        """What is certain now."""
        ...

    def end(self) -> Sequence[Part]:
        """What is left once the text has ended."""
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a backend says of itself; it goes into records, `/models` and `/health`.

    `reproducible` promises that the same request gives the same bytes, whatever runs beside it.
    `applies_limits` says that the backend itself applies stop strings and max_tokens.
    `engine` describes whatever else the text depends on: runner, dtype, threads, versions.
    `notice` is a sentence for people: what is slower than it could be, and what would mend it.
    `defaults` are the parameters that its makers recommend, `begin` is the token that its texts
    begin with, `created` the time of its files, in seconds since 1970. `vocabulary`: so many ids it
    draws from, counted from 0; None where it cannot tell. `reader` makes what reads the answer to a
    request of a conversation, or None where it is plain text.
    """

    name: str
    context_length: int
    reproducible: bool = False
    applies_limits: bool = False
    chat: bool = False
    sha256: str | None = None
    tokenizer_sha256: str | None = None
    engine: Mapping[str, Any] = field(default_factory=dict)
    notice: str | None = None
    defaults: Mapping[str, float] = field(default_factory=dict)
    begin: int | None = None
    vocabulary: int | None = None
    created: int = 0
    reader: Callable[[Request], Reader | None] | None = field(default=None, repr=False)


class Rendered(str):
    """A prompt that a chat template made, and where people's words stand in it.

    `messages` are those it was made of, each with `role` and `content`, and with `at`: the places
    (beginning and end, in characters) of that content in the prompt. What stands there is text,
    whatever it looks like; a special token's name elsewhere is that token.
    """

    messages: list[dict[str, Any]]

    def __new__(cls, prompt: str, messages: list[dict[str, Any]]) -> Rendered:
        made = super().__new__(cls, prompt)
        made.messages = messages
        return made


@dataclass(frozen=True, slots=True)
class Request:
    """One request as a backend sees it: everything is decided, the seed too.

    `caller` is a name for the key it came with, "" without one. What a backend keeps of one
    caller's prompts must not show in another's answers, nor in how fast they come.
    `tokens` are what the backend's own `tokenize` made of the prompt, if it was asked already.
    """

    prompt: str
    params: EffectiveParameters
    seed: int
    caller: str = ""
    tokens: tuple[int, ...] | None = None

    @property
    def max_tokens(self) -> int:
        return self.params.max_tokens


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's text and the natural logarithm of its probability.

    `bytes` are the token's own, where it is no whole character and the text cannot tell.
    """

    text: str
    logprob: float
    bytes: bytes | None = None


@dataclass(frozen=True, slots=True)
class Logprobs:
    """The log probability of one drawn token, and the likeliest tokens in its place."""

    token: TokenLogprob
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Drafts:
    """How many tokens were guessed ahead, and how many of these were right."""

    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text, and how many tokens it stands for; a token may make no text yet.

    `tail` is what would be added if this were the last piece: text that is held back because a
    character or a stop string may be half. It is said if the generation ends here. `engine` is
    what the record's `engine` says of this text alone, from this piece on. `scores` are those of
    tokens of the prompt, in order, where `prompt_logprobs` asks for them: the first token's, which
    nothing comes before, is NaN. `drafts` tell of the text up to here at least. `reused`: tokens of
    the prompt that were computed for an earlier request, as far as the backend tells. `waited`: the
    seconds that the text up to here sat out for what its schema allows.
    """

    text: str
    tokens: int = 1
    logprobs: tuple[Logprobs, ...] = ()
    tail: str = ""
    engine: Mapping[str, Any] | None = None
    scores: tuple[Logprobs, ...] = ()
    # What it cost does not make it another piece: drafts are counted while it is on its way.
    drafts: Drafts | None = field(default=None, compare=False)
    reused: int = field(default=0, compare=False)
    waited: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Finish:
    """The last thing a backend may yield.

    `completion_tokens` puts right what the pieces counted, `prompt_tokens` tells what nobody could
    count before.
    """

    reason: FinishReason = FinishReason.STOP
    completion_tokens: int | None = None
    prompt_tokens: int | None = None


class Backend(Protocol):
    """The seam. Only `info` and `generate` are required; the rest is looked for by name.

    * `async start()` / `async close()`: once each, in the event loop. `info` is read after `start`.
    * `tokenize(prompt) -> Sequence[int]`: any thread; the prompt's tokens, which come with the
      request, so that it is read once. Raises InvalidRequest for a prompt that cannot be read.
    * `tokenize_bare(text) -> Sequence[int]`: any thread; without the tokens that the model wants
      around a prompt. `tokenizer_info() -> Mapping`: any thread; `bos_token`, `chat_template`, ….
    * `detokenize(tokens) -> str`: any thread; the text of a prompt that comes as tokens. Without it
      such prompts are refused. Raises InvalidRequest for tokens that the model does not know.
    * `count_tokens(prompt) -> int | None`: any thread; enough where `tokenize` would be of no use.
      Without either, or with None, the prompt's length is not limited.
    * `render(messages) -> str`: any thread; the prompt that a chat template makes. If the last
      message is the assistant's, it stays open: the prompt ends with its content. A `Rendered`
      comes back as it is, in this request and when its record is replayed.
    * `call_format(prompt, tools, text) -> dict`: any thread; the `response_format` of an answer in
      which `tools` may be called, `text` being that of one without. `render` then takes what else
      the template can read, `{"tools": […]}`, as a second argument. Raises Unsupported. Without it
      `tools` are refused.
    * `constrain(format)`: any thread; raises InvalidRequest for a `response_format` in
      `request.params` that it cannot hold a text to. Without it all but plain text are refused.
    * `share(request, prompt_tokens) -> float`: any thread; the part of its memory that a request
      may come to take. It waits, and is told so, while the parts of those that run leave no room.
    * `lacks() -> Sequence[str]`: once, after `start`; what of its speed it did not get here, in
      sentences, which `/health` and `minivault doctor` pass on.
    * `problem() -> str | None`: any thread; why it cannot work now. Turns `/health` to 503.
    * `statistics() -> Mapping[str, float]`: any thread; gauges for `/metrics`.
    """

    @property
    def info(self) -> ModelInfo: ...

    def generate(self, request: Request) -> AsyncGenerator[str | Piece | Finish, None]: ...
