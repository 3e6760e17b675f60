"""A model's weights and room for a batch, and a team of threads that waits between the steps.

A row's sums are made in one order whatever is beside it, so there is nothing to pad, and a decoded
token has the keys and values that a prefill would have given it.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from minivault.engine.likeliest import Row
from minivault.engine.native import arithmetic, library
from minivault.engine.native.cache import BlockCache
from minivault.engine.native.description import Description
from minivault.engine.native.library import Memory, constants
from minivault.engine.native.numbers import Floats, zeros
from minivault.engine.native.prefix_cache import CHUNK
from minivault.engine.native.structures import decoder_fields, draw_fields, key_kind, room_fields
from minivault.engine.runner import Dtype
from minivault.engine.sequence import Sequence as EngineSequence

_PLACES = ((1, 0), (2, 1), (7, 6), (8, 0), (19, 9), (32, 31))
"""Batch sizes, and where the row stands, that the check at load tries; tests try many more."""

MOST_ROWS = 4 * CHUNK
"""Rows of prompts that one step may run."""


class Decoder:
    """Runs rows of one token each, of up to `slots` sequences. For one thread at a time.

    A step may run up to 256 more rows, of any sequence's tokens, after those it draws for. `build`
    says which compiled files it runs by; `reproducible`, whether they keep a row's bits;
    `arithmetic`, whether these are the same on every machine: see `arithmetic.name`; `notice`, what
    is slower than it could be.
    """

    def __init__(
        self,
        description: Description,
        *,
        dtype: Dtype,
        threads: int,
        slots: int,
        target: tuple[str, ...] | None = None,
    ) -> None:
        """`slots`: sequences at once. `target`: see `compiler.build`. Raises NoKernels."""
        kernels = arithmetic.kernels(target, threads)  # whose team is gone before ours
        self._library = kernels.functions
        self.build = kernels.build.key
        self._vocabulary, self._embedded = description.vocabulary, len(description.tokens)
        self._context = description.context
        self._slots = slots
        self._memory = memory = Memory()
        rows = slots + MOST_ROWS
        self._tokens = zeros(rows, np.int32)
        self._places = zeros((rows, 2), np.int32)
        self._history = zeros((slots, description.context), np.int32)
        self._x = zeros((rows, description.hidden))
        self._logits = zeros((max(slots, CHUNK), description.vocabulary))
        self._sampling = memory.new("struct sampling[]", slots)
        room = room_fields(memory, description, rows, threads) | {
            "tokens": memory.address(self._tokens),
            "places": memory.address(self._places),
            "history": memory.address(self._history),
            "x": memory.address(self._x),
            "logits": memory.address(self._logits),
        }
        model = decoder_fields(memory, description, dtype)
        self.cache = BlockCache(
            layers=description.depth,
            slots=slots,
            heads=description.kv_heads,
            context=description.context,
            head_width=description.head_width,
            kind=key_kind(model),
        )
        self.kv_bytes_per_token = self.cache.bytes_per_token
        model["cache"] = self.cache.fields
        draw = draw_fields(memory, description, threads) | {
            "sampling": self._sampling,
            "history": room["history"],
        }
        self._model = memory.new("struct decoder *", model)
        self._room = memory.new("struct room *", room)
        self._draw = memory.new("struct draw *", draw)
        self._team = library.new_team(self._library, threads)
        # Not at the process's end: a step may be under way, and a forked child has no threads.
        weakref.finalize(self, self._library.team_free, self._team).atexit = False
        both = self._team, self._model, self._room
        self._run_rows = partial(self._library.decoder_run, *both)
        self._run_head = partial(self._library.decoder_logits, *both)
        self._step = partial(self._library.decoder_step, *both, self._draw)
        kinds = self._kinds()
        self.arithmetic = arithmetic.name(kernels.answers, kinds)
        self.notice = kernels.notice if constants.BFLOAT16 in kinds else None
        self.reproducible = self._keeps_bits()

    @cached_property
    def large_pages(self) -> float | None:
        """What `LargePages.share` said when it was first asked for, in some 10 ms."""
        return self._memory.large.share()

    def begin(self, slot: int, sequence: EngineSequence) -> None:
        """Tells whose slot it is: how its tokens are drawn, and what its prompt is."""
        params, prompt = sequence.params, sequence.prompt
        self._refuse_unknown(prompt)
        self._sampling[slot] = {
            "seed": params.seed,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "penalty": params.repetition_penalty,
            "top_k": params.top_k,
            "prompt": len(prompt) + len(sequence.forced),
        }
        self._history[slot, : len(prompt)] = prompt

    def prefill(self, slot: int, begin: int, tokens: Sequence[int]) -> None:
        """Keeps keys and values of up to 256 tokens of one sequence, from position `begin`."""
        self._refuse_unknown(tokens)
        self.run(tokens, [slot] * len(tokens), range(begin, begin + len(tokens)))

    def run(self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]) -> None:
        """Runs any rows through the layers; `logits` may follow."""
        self._run_rows(self._place(tokens, slots, positions))

    def logits(self, rows: int) -> Floats:
        """float32 (rows, vocabulary) of the first rows that were run: up to 64, or all slots.

        The next call overwrites them.
        """
        self._run_head(rows)
        return self._logits[:rows]

    def draw(
        self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int], count: int
    ) -> tuple[list[int], Row]:
        """Runs any rows, and of the first `count` gives tokens and logits; see `Runner.draw`.

        One call, and little around it: the weights have driven Python's own code out of the
        caches, and every line of it waits for memory again.
        """
        self._step(self._place(tokens, slots, positions), count)
        drawn: list[int] = self._tokens[:count].tolist()
        return drawn, self._logits[:count]

    def _place(self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]) -> int:
        count = len(tokens)
        self._tokens[:count] = tokens
        self._places[:count, 0] = slots
        self._places[:count, 1] = positions
        return count

    def _refuse_unknown(self, tokens: Sequence[int]) -> None:
        """A tokenizer may know more than the model; C would read whatever lies there."""
        if max(tokens) >= self._embedded:
            raise IndexError("the prompt holds a token that the model does not know")

    def _kinds(self) -> set[int]:
        """How the weights of its products are kept."""
        kinds = {self._model.head.kind}
        for index in range(self._model.count):
            layer = self._model.layers[index]
            products = [*layer.project[0 : layer.projects], layer.merge, layer.widen, layer.narrow]
            kinds |= {each.kind for each in products}
        return kinds

    def _keeps_bits(self) -> bool:
        """Whether one row gets the same bits at several places of several batches: one layer."""
        layers, self._model.count = self._model.count, 1
        found = [self._bits_at(size, place).tobytes() for size, place in _PLACES]
        self._model.count = layers
        return len(set(found)) == 1

    def _bits_at(self, size: int, place: int) -> Floats:
        """The logits of one row among rows of any kind.

        Alone its sequence is prefilled before; in company it goes along, as in a step.
        """
        slots = [self.cache.take() for _ in range(min(size, self._slots))]
        place = min(place, len(slots) - 1)
        dice = random.Random(size)
        tokens = [dice.randrange(self._vocabulary) for _ in slots]
        positions = [dice.randrange(min(40, self._context)) for _ in slots]
        length = min(CHUNK + 1, self._context)
        *rest, tokens[place] = (7 * n % self._vocabulary for n in range(length))
        positions[place] = len(rest)
        if rest and size == 1:
            self.prefill(slots[place], 0, rest)
            rest = []
        along = [slots[place]] * len(rest)
        self.run([*tokens, *rest], [*slots, *along], [*positions, *range(len(rest))])
        found: Floats = self.logits(len(slots))[place]
        for slot in slots:
            self.cache.give_back(slot)
        return found
