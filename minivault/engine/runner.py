"""The seam between the engine and whatever computes logits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from minivault.engine import sequence as seq
from minivault.engine.likeliest import Row

Dtype = Literal["float32", "bfloat16", "int8", "int4"]
"""The numbers that weights are kept as."""

NATIVE_ONLY = ("int8", "int4")
"""Widths that only the C kernels compute with."""

USUAL_CONTEXT = 8192
"""Tokens of a text at most, where nobody says how many: room for more has to be paid for."""


class Unsupported(Exception):
    """This runner cannot serve this model; another one may. The message says why."""


class NoKernels(Unsupported):
    """There are no C kernels on this machine; the message says why, and what would mend it."""


class Runner(Protocol):
    """Computes logits for sequences; every method is called by one thread at a time.

    A sequence goes through `prefill` (until it returns True), any number of `draw`, and one
    `release`, which may come at any time, also after a method raised. What a runner keeps for a
    sequence stands in `sequence.cache`, which is None at first and after `release`.

    `kv_bytes_per_token` is the memory that one token of one sequence holds; `reserved_tokens` says
    for how many tokens a sequence that may grow to `tokens` must be charged.
    `vocabulary` is the width of the logits, `embedded` the number of token ids it can be fed: no
    larger one may reach it.
    `reproducible`: a sequence gets the same bits whatever runs beside it. `mode` is "batched", or
    "one at a time": then `draw` gets them one by one. `notice` is for people: what of its speed is
    missing here, and how to get it.
    `description` goes into the log's `engine` field: runner, dtype, device, threads, versions,
    everything the bits depend on. Its values are strings, numbers, booleans.
    """

    context_length: int
    vocabulary: int
    embedded: int
    kv_bytes_per_token: int
    reproducible: bool
    mode: str
    notice: str | None
    description: Mapping[str, Any]

    def reserved_tokens(self, tokens: int) -> int:
        """For how many tokens to charge a sequence that may grow to `tokens`."""
        ...

    def prefill(self, sequence: seq.Sequence) -> bool:
        """Computes the next part of the prompt; True once the rest is left to the first `draw`.

        That is the last token at least, whose logits give the first one of the text; a runner that
        computes several tokens of a sequence at once may leave more. False means: call again. The
        parts are cut at positions that depend on the prompt alone.
        """
        ...

    def draw(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], list[Row]]:
        """One more position for each, in order, and a token drawn from it as `engine.sampler` says.

        Feeds each sequence's `last_token`, after whatever its prompt has left; the list is never
        empty. -1 stands for a row that holds what is no number. The rows (float32, vocabulary) are
        the model's own logits, and hold until the next call; that of a sequence whose log
        probabilities nobody asks for may be empty. Where it raises for several, it has
        gone on with none of them, and may be called again with any.
        """
        ...

    def is_ahead(self, sequence: seq.Sequence) -> bool:
        """Whether the token that comes next is drawn already, so that `draw` computes nothing."""
        ...

    def release(self, sequence: seq.Sequence) -> None:
        """Frees what is kept for a sequence. Does nothing where nothing is kept."""
        ...

    def lacks(self) -> Iterable[str]:
        """Sentences: what of its speed this machine did not give it, and what may mend that."""
        ...

    def statistics(self) -> Mapping[str, float]:
        """Counters of the runner's own, such as prefix_hits; any thread may ask."""
        ...
