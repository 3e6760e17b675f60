"""GPT-2 by torch's operators: on every device, and without a compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from minivault.engine import kv_cache, sampler
from minivault.engine.kv_cache import CacheShape, KvCache
from minivault.engine.likeliest import Row
from minivault.engine.runners.gpt2_files import Gpt2Shape
from minivault.engine.runners.gpt2_layers import Gpt2Layers
from minivault.engine.runners.linear import Kind
from minivault.engine.runners.rows import Rows, chosen_rows
from minivault.engine.sequence import Sequence as EngineSequence


class TorchGpt2:
    """Rows go through the layers together; attention is theirs alone."""

    mixes = False

    def __init__(
        self,
        shape: Gpt2Shape,
        weights: Mapping[str, Tensor],
        *,
        kind: Kind,
        dtype: torch.dtype,
        device: torch.device,
        slots: int,
        rows: Rows | None = None,
    ) -> None:
        """`rows`: batches chosen by hand, for tests; else a check finds what keeps the bits."""
        self._device = device
        self._layers = Gpt2Layers(shape, weights, dtype=dtype, kind=kind, device=device)
        width = shape.width // shape.heads
        room = CacheShape.for_context(shape.layers, slots, shape.heads, shape.positions, width)
        self.cache = KvCache(room, device)
        self.kv_bytes_per_token = room.bytes_per_token
        self._scales = [shape.scale(layer) for layer in range(shape.layers)]
        self._rows, self.reproducible = (
            (rows, True) if rows else chosen_rows(self._layers.products, dtype, self.cache)
        )
        self.mode = self._rows.mode
        self.description: Mapping[str, Any] = {"kernels": "torch", "products": kind}

    def prefill(self, slot: int, begin: int, tokens: Sequence[int]) -> Tensor:
        """See the seam."""
        end = begin + len(tokens)
        x = self._layers.embed(self._padded(tokens), self._padded(range(begin, end)))
        return self._layers.run(x, _Part(self.cache, slot, begin, end, self._scales))

    def decode(
        self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        """See the seam."""
        most = self._rows.at_most
        parts = [slice(begin, begin + most) for begin in range(0, len(tokens), most)]
        logits = [self._decode(tokens[part], slots[part], positions[part]) for part in parts]
        return logits[0] if len(logits) == 1 else torch.cat(logits)

    def logits(self, x: Tensor) -> Tensor:
        """See the seam."""
        return self._layers.logits(x)

    def begin(self, slot: int, sequence: EngineSequence) -> None:
        """See the seam."""

    @torch.inference_mode()
    def draw(
        self,
        tokens: Sequence[int],
        slots: Sequence[int],
        positions: Sequence[int],
        sequences: Sequence[EngineSequence],
    ) -> tuple[list[int], Row]:
        """See the seam."""
        logits = self.decode(tokens, slots, positions).numpy(force=True)
        return sampler.sample_from(logits, sequences)

    def _decode(
        self, tokens: Sequence[int], slots: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        """One batch. Rows go by slot, so that neighbours in memory are attended together."""
        order = sorted(range(len(slots)), key=lambda row: slots[row])
        places = self._padded([positions[row] for row in order])
        step = _Step(
            self.cache,
            [slots[row] for row in order],
            [positions[row] + 1 for row in order],
            places,
            self._scales,
        )
        x = self._layers.embed(self._padded([tokens[row] for row in order]), places)
        x = self._layers.run(x, step)
        if order != sorted(order):
            x[order] = x[: len(order)].clone()
        return self._layers.logits(x)[: len(order)]

    def _padded(self, numbers: Sequence[int]) -> Tensor:
        """At least as many rows as the same bits need; those added count for nothing."""
        missing = self._rows.at_least - len(numbers)
        return torch.tensor([*numbers, *[0] * missing], device=self._device)


class _Step:
    """Attention of one decoding step: a row per sequence, `slots` ascending."""

    def __init__(
        self,
        cache: KvCache,
        slots: Sequence[int],
        lengths: Sequence[int],
        positions: Tensor,
        scales: list[float],
    ) -> None:
        self._cache = cache
        self._scales = scales
        self._count = len(slots)
        self._groups = kv_cache.grouped(cache, slots, lengths)
        places = torch.tensor(slots, device=positions.device)
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
