"""Runs the GPT-2 family: one batch, prompts in fixed chunks, keys and values in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from minivault.engine import sequence as seq
from minivault.engine.likeliest import Row
from minivault.engine.prefix_cache import CHUNK, PrefixCache
from minivault.engine.runners.base import Kernels
from minivault.engine.runners.gpt2_files import read_shape
from minivault.engine.runners.gpt2_model import Gpt2Model
from minivault.engine.runners.gpt2_order import Order, chosen_width
from minivault.engine.runners.linear import Kind
from minivault.engine.runners.pipeline import chosen_device
from minivault.engine.runners.rows import Rows


@dataclass(slots=True)
class Slot:
    """Where a sequence's keys and values lie, and how many tokens they stand for.

    `rest` are the last of these, if they have yet to be computed, along with the first draw.
    """

    index: int
    length: int = 0
    rest: tuple[int, ...] = ()
    group: str = ""  # who may reuse its prefilled beginnings


class Gpt2Runner:
    """Computes GPT-2's logits for many sequences at once, each with the bits it has alone.

    `reproducible` and `mode` are what a check at load found on this machine.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        kernels: Kernels = "auto",
        max_running: int = 32,
        prefix_memory: int = 0,
        kind: Kind | None = None,
        rows: Rows | None = None,
        target: tuple[str, ...] | None = None,
    ) -> None:
        """Loads the weights. `kernels`: by C files or by torch; auto takes C where a compiler is.

        `kind` and `rows` choose torch's operators and batches by hand, `target` the processor that
        is compiled for: for tests. Raises Unsupported for another family, ModelUnusable for files
        that are wrong.
        """
        shape = read_shape(folder)
        on = chosen_device(device)
        width = chosen_width(dtype, on)
        self._threads = threads or torch.get_num_threads()
        self._thread: int | None = None
        self._prefixes = PrefixCache(prefix_memory)
        self.context_length = shape.positions
        self.vocabulary = shape.vocabulary
        with torch.inference_mode():
            self._use_threads()
            order = Order(folder, shape, width, on, self._threads, max_running, kernels)
            by_hand = kind is not None or rows is not None
            native = None if by_hand else order.native(target)
            self._model: Gpt2Model = native or order.torch(kind, rows)
        self.kv_bytes_per_token = self._model.kv_bytes_per_token
        self.reproducible = self._model.reproducible
        self.mode = self._model.mode
        self.description: Mapping[str, Any] = {
            "runner": "gpt2",
            "dtype": width,
            "device": on.type,
            "threads": self._threads,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "mode": self.mode,
            **self._model.description,
        }

    def reserved_tokens(self, tokens: int) -> int:
        return min(tokens, self.context_length)

    @torch.inference_mode()
    def prefill(self, sequence: seq.Sequence) -> bool:
        """One chunk of the prompt, cut at multiples of 64 tokens; see the seam.

        Where a step may run more rows than it draws for, what is less than a chunk waits for it.
        """
        self._use_threads()
        slot = self._slot(sequence)
        whole = len(sequence.prompt) - 1
        if self._model.mixes and 0 < whole - slot.length < CHUNK:
            slot.rest = sequence.prompt[slot.length : whole]
            slot.length = whole
        elif slot.length < whole:
            self._extend(slot, sequence.prompt[:whole])
        return slot.length == whole

    @torch.inference_mode()
    def decode(self, sequences: Sequence[seq.Sequence]) -> Tensor:
        """float32 logits (rows, vocabulary) after each sequence's last token; see the seam."""
        self._use_threads()
        return self._model.decode(*self._rows(sequences))[: len(sequences)]

    def draw(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], Row]:
        """One token more for each sequence; see the seam."""
        self._use_threads()
        return self._model.draw(*self._rows(sequences), sequences)

    @torch.inference_mode()
    def losses(self, tokens: Sequence[int]) -> Tensor:
        """-log p of every token but the first, given those before it: float64 (len - 1,).

        For measuring quality; `tokens` fit in the context.
        """
        self._use_threads()
        slot = Slot(self._model.cache.take())
        found = []
        try:
            while slot.length < len(tokens) - 1:
                begin = slot.length
                x = self._extend(slot, tuple(tokens[:-1]))
                wanted = torch.tensor(tokens[begin + 1 : slot.length + 1], device=x.device)
                spread = self._model.logits(x)[: len(wanted)].double().log_softmax(-1)
                found.append(-spread.gather(1, wanted[:, None])[:, 0])
        finally:
            self._model.cache.give_back(slot.index)
        return torch.cat(found)

    @torch.inference_mode()
    def release(self, sequence: seq.Sequence) -> None:
        slot: Slot | None = sequence.cache
        sequence.cache = None
        if slot is not None:
            self._model.cache.give_back(slot.index)

    def statistics(self) -> Mapping[str, float]:
        kept = self._prefixes
        return {
            "prefix_hits": kept.hits,
            "prefix_misses": kept.misses,
            "prefix_bytes": kept.bytes,
        }

    def _slot(self, sequence: seq.Sequence) -> Slot:
        """The sequence's slot; a new one begins with what is kept of its prompt."""
        slot: Slot | None = sequence.cache
        if slot is None:
            sequence.cache = slot = Slot(self._model.cache.take(), group=sequence.group)
            self._model.begin(slot.index, sequence)
            most = len(sequence.prompt) - 1
            for chunk in self._prefixes.find(sequence.prompt, most, slot.group):
                end = slot.length + CHUNK
                self._model.cache.part(slot.index, slot.length, end).copy_(chunk)
                slot.length = end
        return slot

    def _rows(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], list[int], list[int]]:
        """What a step runs: the sequences' last tokens first, then what prompts have left."""
        own: list[Slot] = [each.cache for each in sequences]
        tokens = [each.last_token for each in sequences]
        slots = [slot.index for slot in own]
        positions = [slot.length for slot in own]
        for slot in own:
            if slot.rest:
                begin = slot.length - len(slot.rest)
                if len(tokens) - len(own) + len(slot.rest) > CHUNK:
                    self._model.prefill(slot.index, begin, slot.rest)
                else:
                    tokens += slot.rest
                    slots += [slot.index] * len(slot.rest)
                    positions += range(begin, slot.length)
                slot.rest = ()
            slot.length += 1
        return tokens, slots, positions

    def _extend(self, slot: Slot, prompt: tuple[int, ...]) -> Tensor:
        """Computes keys and values up to the next multiple of a chunk, or to the prompt's end.

        Returns what the layers made of these rows, and of those that fill them up.
        """
        begin = slot.length
        end = min(begin + CHUNK, len(prompt))
        x = self._model.prefill(slot.index, begin, prompt[begin:end])
        slot.length = end
        if end % CHUNK == 0:
            chunk = self._model.cache.part(slot.index, begin, end)
            self._prefixes.keep(prompt[:end], chunk, slot.group)
        return x

    def _use_threads(self) -> None:
        """OpenMP counts its threads anew in every thread that calls it."""
        if self._thread != get_ident():
            self._thread = get_ident()
            torch.set_num_threads(self._threads)
