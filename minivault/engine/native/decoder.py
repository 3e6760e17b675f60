"""GPT-2 by the C files of `engine.native`: a whole step in one call, bits by construction.

A row's sums are made in one order whatever is beside it, so there is nothing to pad, and a decoded
token has the keys and values that a prefill would have given it.
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Mapping, Sequence
from ctypes import byref
from functools import partial

import numpy as np
import torch
from torch import Tensor

from minivault.engine.likeliest import Row
from minivault.engine.native import library
from minivault.engine.native.cache import BlockCache
from minivault.engine.native.gpt2 import Gpt2Shape
from minivault.engine.native.library import BLOCK, GROUP, LANES
from minivault.engine.native.packing import Packed, packed
from minivault.engine.native.prefix_cache import CHUNK
from minivault.engine.runners.base import Dtype
from minivault.engine.sequence import Sequence as EngineSequence
from minivault.errors import ModelUnusable

_PLACES = ((1, 0), (2, 1), (7, 6), (8, 0), (19, 9), (32, 31))
"""Batch sizes, and where the row stands, that the check at load tries; tests try many more."""


class Decoder:
    """Weights and room for a batch, and a team of threads that waits between the steps."""

    def __init__(
        self,
        shape: Gpt2Shape,
        weights: Mapping[str, Tensor],
        *,
        dtype: Dtype,
        threads: int,
        slots: int,
        target: tuple[str, ...] | None = None,
    ) -> None:
        """`slots`: sequences at once. `target`: see `compiler.build`. Raises NoKernels."""
        built, self._library = library.loaded(target)
        self._shape = shape
        self._dtype = dtype
        self._slots = slots
        self._rows = slots + CHUNK
        self._held: list[object] = []
        self.cache = BlockCache(
            layers=shape.layers,
            slots=slots,
            heads=shape.heads,
            positions=shape.positions,
            width=shape.width // shape.heads,
            narrow=dtype != "float32",
        )
        self.kv_bytes_per_token = self.cache.bytes_per_token
        self._tokens = np.zeros(self._rows, np.int32)
        self._places = np.zeros((self._rows, 2), np.int32)
        self._history = np.zeros((slots, shape.positions), np.int32)
        self._sampling = (library.Sampling * slots)()
        self._x = torch.zeros(self._rows, shape.width)
        self._logits = torch.zeros(self._rows, shape.vocabulary)
        self._rows_of_logits = self._logits.numpy()
        self._addresses = (
            self._tokens.ctypes.data,
            self._places.ctypes.data,
            self._x.data_ptr(),
            self._logits.data_ptr(),
        )
        self._model = self._structure(weights, threads)
        self._draw = self._drawing(threads)
        self._team = self._library.team_new(threads)
        if not self._team:
            raise ModelUnusable(f"the system gives no {threads} threads; use fewer (--threads)")
        # Not at the process's end: a step may be under way, and a forked child has no threads.
        weakref.finalize(self, self._library.team_free, self._team).atexit = False
        both = byref(self._model), byref(self._draw)
        self._step = partial(self._library.gpt2_step, self._team, *both)
        self.build = built.key
        self.reproducible = self._keeps_bits()

    def prefill(self, slot: int, begin: int, tokens: Sequence[int]) -> Tensor:
        """See the seam."""
        self._refuse_unknown(tokens)
        end = begin + len(tokens)
        return self._run(tokens, [slot] * len(tokens), range(begin, end))

    def decode(
        self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        """See the seam."""
        return self.logits(self._run(tokens, slots, positions))

    def logits(self, x: Tensor) -> Tensor:
        """See the seam."""
        found = self._logits[: len(x)]
        self._library.gpt2_logits(
            self._team, byref(self._model), len(x), x.data_ptr(), found.data_ptr()
        )
        return found

    def begin(self, slot: int, sequence: EngineSequence) -> None:
        """Tells whose slot it is: how its tokens are drawn, and what its prompt is."""
        params, prompt = sequence.params, sequence.prompt
        self._refuse_unknown(prompt)
        self._sampling[slot] = library.Sampling(
            params.seed,
            params.temperature,
            params.top_p,
            params.repetition_penalty,
            params.top_k,
            len(prompt),
        )
        self._history[slot, : len(prompt)] = prompt

    def draw(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[EngineSequence],
    ) -> tuple[list[int], Row]:
        """See the seam.

        One call, and little around it: the weights have driven Python's own code out of the
        caches, and every line of it waits for memory again.
        """
        count = len(sequences)
        self._step(self._place(tokens, slots, positions), count, *self._addresses)
        logits = self._rows_of_logits[:count]
        drawn: list[int] = self._tokens[:count].tolist()
        return drawn, logits

    def _refuse_unknown(self, tokens: Sequence[int]) -> None:
        """A tokenizer may know more than the model; C would read whatever lies there."""
        if max(tokens) >= self._shape.vocabulary:
            raise IndexError("the prompt holds a token that the model does not know")

    def _place(self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]) -> int:
        count = len(tokens)
        self._tokens[:count] = tokens
        self._places[:count, 0] = slots
        self._places[:count, 1] = positions
        return count

    def _run(self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]) -> Tensor:
        count = self._place(tokens, slots, positions)
        tokens_at, places_at, x_at, _ = self._addresses
        model = byref(self._model)
        self._library.gpt2_run(self._team, model, count, tokens_at, places_at, x_at)
        return self._x[:count]

    def _structure(self, weights: Mapping[str, Tensor], threads: int) -> library.Gpt2:
        shape, rows = self._shape, self._rows
        narrow = self._dtype != "float32"
        layers = (library.Layer * shape.layers)()
        for index in range(shape.layers):
            layers[index] = self._layer(weights, index)
        self._held.append(layers)
        table = weights["wte.weight"].to(torch.bfloat16 if narrow else torch.float32, copy=True)
        return library.Gpt2(
            layers,
            self._hold(table),
            self._hold(weights["wpe.weight"].to(torch.float32, copy=True)),
            self._history.ctypes.data,
            self._norm(weights, "ln_f"),
            *self._head(weights["wte.weight" if shape.tied else "lm_head.weight"]),
            self.cache.structure,
            narrow,
            shape.layers,
            shape.width,
            shape.inner,
            shape.positions,
            shape.epsilon,
            self._operand(shape.width),
            self._operand(shape.inner),
            self._hold(torch.zeros(rows)),
            self._hold(torch.zeros(rows, 3 * shape.width)),
            self._hold(torch.zeros(rows, shape.width)),
            self._hold(torch.zeros(rows, shape.inner)),
            self._hold(torch.zeros(threads, -(-shape.positions // BLOCK) * BLOCK)),
        )

    def _drawing(self, threads: int) -> library.Draw:
        shape = self._shape
        return library.Draw(
            self._sampling,
            self._history.ctypes.data,
            shape.positions,
            shape.vocabulary,
            self._hold(torch.zeros(threads, shape.vocabulary // LANES + LANES)),
            self._hold(torch.zeros(threads, shape.positions)),
            self._hold(torch.zeros(threads, shape.vocabulary)),
            self._hold(torch.zeros(threads, shape.vocabulary, dtype=torch.int32)),
            self._hold(torch.zeros(threads, shape.vocabulary, dtype=torch.float64)),
            self._hold(torch.zeros(threads, 2, shape.vocabulary, dtype=torch.int64)),
        )

    def _layer(self, weights: Mapping[str, Tensor], index: int) -> library.Layer:
        def product(name: str, activation: str | None = None) -> library.Linear:
            weight, bias = (weights[f"h.{index}.{name}.{each}"] for each in ("weight", "bias"))
            return self._product(packed(self._dtype, weight.t(), bias, activation))

        return library.Layer(
            self._norm(weights, f"h.{index}.ln_1"),
            self._norm(weights, f"h.{index}.ln_2"),
            product("attn.c_attn"),
            product("attn.c_proj"),
            product("mlp.c_fc", self._shape.activation),
            product("mlp.c_proj"),
            self._shape.scale(index),
        )

    def _head(self, weight: Tensor) -> tuple[library.Linear, int | None]:
        """The product, and the mean that int8 would have no steps left beside."""
        if self._dtype != "int8":
            return self._product(packed(self._dtype, weight)), None
        mean = weight.float().mean(0)
        return self._product(packed("int8", weight - mean)), self._hold(mean)

    def _norm(self, weights: Mapping[str, Tensor], name: str) -> library.Norm:
        both = (weights[f"{name}.{each}"].float().clone() for each in ("weight", "bias"))
        return library.Norm(*(self._hold(each) for each in both))

    def _operand(self, width: int) -> library.Operand:
        """Room for rows of the widest numbers; the filling at their ends stays zero."""
        stride = -(-width // GROUP) * GROUP
        room = torch.zeros(self._rows, stride)
        return library.Operand(self._hold(room), self._hold(torch.zeros(self._rows)), None, stride)

    def _product(self, product: Packed) -> library.Linear:
        self._held.append(product.held)
        return product.structure

    def _hold(self, tensor: Tensor) -> int:
        self._held.append(tensor)
        return tensor.data_ptr()

    def _keeps_bits(self) -> bool:
        """Whether one row gets the same bits at several places of several batches: one layer."""
        layers, self._model.count = self._model.count, 1
        with torch.inference_mode():
            found = [self._bits_at(size, place).clone() for size, place in _PLACES]
        self._model.count = layers
        return all(torch.equal(found[0], each) for each in found[1:])

    def _bits_at(self, size: int, place: int) -> Tensor:
        """The logits of one row among rows of any kind.

        Alone its sequence is prefilled before; in company it goes along, as in a step.
        """
        slots = [self.cache.take() for _ in range(min(size, self._slots))]
        place = min(place, len(slots) - 1)
        dice = random.Random(size)
        tokens = [dice.randrange(self._shape.vocabulary) for _ in slots]
        positions = [dice.randrange(min(40, self._shape.positions)) for _ in slots]
        length = min(CHUNK + 1, self._shape.positions)
        *rest, tokens[place] = (7 * n % self._shape.vocabulary for n in range(length))
        positions[place] = len(rest)
        if rest and size == 1:
            self.prefill(slots[place], 0, rest)
            rest = []
        along = [slots[place]] * len(rest)
        x = self._run([*tokens, *rest], [*slots, *along], [*positions, *range(len(rest))])
        found = self.logits(x[: len(slots)])[place]
        for slot in slots:
            self.cache.give_back(slot)
        return found
