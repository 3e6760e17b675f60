"""Runs the GPT-2 family: one batch, weights packed once, keys and values in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from minivault.engine import kv_cache
from minivault.engine import sequence as seq
from minivault.engine.kv_cache import CacheShape, KvCache
from minivault.engine.prefix_cache import CHUNK, PrefixCache
from minivault.engine.runners.gpt2_files import read_shape, read_weights
from minivault.engine.runners.gpt2_model import Gpt2Model
from minivault.engine.runners.linear import Kind
from minivault.engine.runners.pipeline import chosen_device, chosen_dtype
from minivault.engine.runners.rows import Rows, chosen_rows
from minivault.errors import ModelUnusable


@dataclass(slots=True)
class Slot:
    """Where a sequence's keys and values lie, and how many tokens they stand for."""

    index: int
    length: int = 0


class Gpt2Runner:
    """Computes GPT-2's logits for many sequences at once, each with the bits it has alone.

    `reproducible` and `mode` are what a check at load found on this machine; see `rows`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        max_running: int = 32,
        prefix_memory: int = 0,
        kind: Kind | None = None,
        rows: Rows | None = None,
    ) -> None:
        """Loads the weights. `kind` and `rows` choose operators and batches by hand, for tests.

        Raises Unsupported for another family, ModelUnusable for files that are wrong.
        """
        shape = read_shape(folder)
        self._device = chosen_device(device)
        self._threads = threads or torch.get_num_threads()
        self._thread: int | None = None
        self._kind = kind or _kind(dtype, self._device)
        self._dtype = torch.float32 if dtype == "int8" else chosen_dtype(dtype, self._device)
        self._shape = shape
        self.context_length = shape.positions
        self.vocabulary = shape.vocabulary
        with torch.inference_mode():
            self._load(folder, max_running, prefix_memory)
            self._use_threads()
            self._rows, self.reproducible = (
                (rows, True)
                if rows
                else chosen_rows(self._model.products, self._dtype, self._cache)
            )
        self.mode = self._rows.mode
        self.description = self._describe()

    def _load(self, folder: Path, max_running: int, prefix_memory: int) -> None:
        shape = self._shape
        weights = read_weights(folder, shape)
        self._model = Gpt2Model(
            shape, weights, dtype=self._dtype, kind=self._kind, device=self._device
        )
        width = shape.width // shape.heads
        room = CacheShape.for_context(
            shape.layers, max_running, shape.heads, shape.positions, width
        )
        self._cache = KvCache(room, self._device)
        self._prefixes = PrefixCache(prefix_memory)
        self._scales = [shape.scale(layer) for layer in range(shape.layers)]
        self.kv_bytes_per_token = room.bytes_per_token

    def reserved_tokens(self, tokens: int) -> int:
        return min(tokens, self.context_length)

    @torch.inference_mode()
    def prefill(self, sequence: seq.Sequence) -> bool:
        """One chunk of the prompt, cut at multiples of 64 tokens; see the seam."""
        self._use_threads()
        slot = self._slot(sequence)
        whole = len(sequence.prompt) - 1
        if slot.length < whole:
            self._extend(slot, sequence.prompt[:whole])
        return slot.length == whole

    @torch.inference_mode()
    def decode(self, sequences: Sequence[seq.Sequence]) -> Tensor:
        """float32 logits (rows, vocabulary) after each sequence's last token; see the seam."""
        self._use_threads()
        most = self._rows.at_most
        parts = [sequences[begin : begin + most] for begin in range(0, len(sequences), most)]
        logits = [self._decode(part) for part in parts]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    @torch.inference_mode()
    def losses(self, tokens: Sequence[int]) -> Tensor:
        """-log p of every token but the first, given those before it: float64 (len - 1,).

        For measuring quality; `tokens` fit in the context.
        """
        self._use_threads()
        slot = Slot(self._cache.take())
        found = []
        while slot.length < len(tokens) - 1:
            begin = slot.length
            x = self._extend(slot, tuple(tokens[:-1]))
            wanted = torch.tensor(tokens[begin + 1 : slot.length + 1], device=self._device)
            spread = self._model.logits(x)[: len(wanted)].double().log_softmax(-1)
            found.append(-spread.gather(1, wanted[:, None])[:, 0])
        self._cache.give_back(slot.index)
        return torch.cat(found)

    @torch.inference_mode()
    def release(self, sequence: seq.Sequence) -> None:
        slot: Slot | None = sequence.cache
        sequence.cache = None
        if slot is not None:
            self._cache.give_back(slot.index)

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
            sequence.cache = slot = Slot(self._cache.take())
            for chunk in self._prefixes.find(sequence.prompt, len(sequence.prompt) - 1):
                end = slot.length + CHUNK
                self._cache.part(slot.index, slot.length, end).copy_(chunk)
                slot.length = end
        return slot

    def _extend(self, slot: Slot, prompt: tuple[int, ...]) -> Tensor:
        """Computes keys and values up to the next multiple of a chunk, or to the prompt's end.

        Returns what the layers made of these rows, and of those that fill them up.
        """
        begin = slot.length
        end = min(begin + CHUNK, len(prompt))
        tokens = self._padded(prompt[begin:end])
        positions = self._padded(range(begin, end))
        part = _Part(self._cache, slot.index, begin, end, self._scales)
        x = self._model.run(self._model.embed(tokens, positions), part)
        slot.length = end
        if end % CHUNK == 0:
            self._prefixes.keep(prompt[:end], self._cache.part(slot.index, begin, end))
        return x

    def _decode(self, sequences: Sequence[seq.Sequence]) -> Tensor:
        """One batch. Rows go by slot, so that neighbours in memory are attended together."""
        order = sorted(range(len(sequences)), key=lambda row: sequences[row].cache.index)
        tokens = self._padded([sequences[row].last_token for row in order])
        slots: list[Slot] = [sequences[row].cache for row in order]
        positions = self._padded([slot.length for slot in slots])
        step = _Step(self._cache, slots, positions, self._scales)
        x = self._model.run(self._model.embed(tokens, positions), step)
        for slot in slots:
            slot.length += 1
        if order != sorted(order):
            x[order] = x[: len(order)].clone()
        return self._model.logits(x)[: len(order)]

    def _padded(self, numbers: Sequence[int]) -> Tensor:
        """At least as many rows as the same bits need; those added count for nothing."""
        missing = self._rows.at_least - len(numbers)
        return torch.tensor([*numbers, *[0] * missing], device=self._device)

    def _use_threads(self) -> None:
        """OpenMP counts its threads anew in every thread that calls it."""
        if self._thread != get_ident():
            self._thread = get_ident()
            torch.set_num_threads(self._threads)

    def _describe(self) -> Mapping[str, Any]:
        return {
            "runner": "gpt2",
            "dtype": "int8" if self._kind == "int8" else str(self._dtype).removeprefix("torch."),
            "device": self._device.type,
            "threads": self._threads,
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "products": self._kind,
            "mode": self.mode,
        }


class _Step:
    """Attention of one decoding step: a row per sequence, `slots` ascending."""

    def __init__(
        self, cache: KvCache, slots: Sequence[Slot], positions: Tensor, scales: list[float]
    ) -> None:
        indices = [slot.index for slot in slots]
        self._cache = cache
        self._scales = scales
        self._count = len(slots)
        self._groups = kv_cache.grouped(cache, indices, [slot.length + 1 for slot in slots])
        places = torch.tensor(indices, device=positions.device)
        self._places = kv_cache.places_of(cache, places, positions[: len(slots)])
        heads, width = cache.shape.heads, cache.shape.width
        self._mixed = torch.zeros(len(positions), heads * width, device=positions.device)

    def __call__(self, layer: int, projected: Tensor) -> Tensor:
        cache, heads, width = self._cache, self._cache.shape.heads, self._cache.shape.width
        rows = projected[: self._count].float().view(-1, 3, heads, width)
        kv_cache.write(cache, layer, self._places, rows[:, 1:])
        for group in self._groups:
            queries = rows[group.rows, 0].reshape(-1, 1, width)
            out = self._mixed[group.rows].view(-1, 1, width)
            kv_cache.attend(cache, layer, group, queries, self._scales[layer], out)
        return self._mixed.to(projected.dtype)


class _Part:
    """Attention of one part of one prompt."""

    def __init__(
        self, cache: KvCache, slot: int, begin: int, end: int, scales: list[float]
    ) -> None:
        self._cache = cache
        self._slot = slot
        self._scales = scales
        self._count = end - begin
        self._mask = kv_cache.causal_mask(begin, end, cache.starts.device)
        self._new = cache.part(slot, begin, end)

    def __call__(self, layer: int, projected: Tensor) -> Tensor:
        heads, width = self._cache.shape.heads, self._cache.shape.width
        rows = projected[: self._count].float().view(-1, 3, heads, width)
        queries, *keys_values = rows.permute(1, 2, 0, 3)
        self._new[layer].copy_(torch.stack(keys_values))
        mixed = kv_cache.attend_part(
            self._cache, layer, self._slot, queries, self._mask, self._scales[layer]
        )
        flat = mixed.transpose(0, 1).reshape(self._count, -1)
        padding = len(projected) - self._count
        flat = torch.nn.functional.pad(flat, (0, 0, 0, padding)) if padding > 0 else flat
        return flat.to(projected.dtype)


def _kind(dtype: str, device: torch.device) -> Kind:
    if device.type != "cpu":
        if dtype == "int8":
            raise ModelUnusable("dtype int8 is for the CPU; use auto, float32 or bfloat16")
        return "plain"
    return "int8" if dtype == "int8" else "packed"
