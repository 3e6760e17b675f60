"""How many rows may go through the model together so that none changes another's bits.

Found out at load, because it depends on the processor and on the libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minivault.engine import kv_cache, sampler
from minivault.engine.kv_cache import KvCache
from minivault.engine.runners.linear import Linear


@dataclass(frozen=True, slots=True)
class Rows:
    """Every batch has at least and at most so many rows; missing ones are made up.

    float32 products of one row take another kernel than those of two and more, so a batch has two
    rows at least.
    """

    mode: str
    at_least: int
    at_most: int


BATCHED = Rows("batched", 2, 512)
FIXED = Rows("fixed batch", 8, 8)
ALONE = Rows("one at a time", 1, 1)

_PLACES = ((2, 0), (2, 1), (3, 2), (8, 5), (17, 16), (32, 11))
"""Batch sizes, and where the row stands, that the check at load tries; tests try many more."""


def chosen_rows(
    products: Sequence[tuple[Linear, int]], dtype: torch.dtype, cache: KvCache
) -> tuple[Rows, bool]:
    """The fastest way that keeps the bits on this machine, and whether even the slowest does.

    `products`: with their numbers of inputs, which are of `dtype`. No batch helps where draws
    depend on memory.
    """
    drawn = sampler.keeps_bits()
    for rows in (BATCHED, FIXED, ALONE):
        if keeps_bits(rows, products, dtype, cache):
            return rows, drawn
    return ALONE, False


def keeps_bits(
    rows: Rows, products: Sequence[tuple[Linear, int]], dtype: torch.dtype, cache: KvCache
) -> bool:
    """Whether one row gets the same bits at several places of batches that `rows` allows."""
    places = [(size, place) for size, place in _PLACES if size <= rows.at_most]
    if rows.at_least == rows.at_most:
        places = [(rows.at_least, place) for place in range(rows.at_least)]
    places = places * 2 if len(places) == 1 else places
    return all(
        _product_keeps_bits(product, inputs, dtype, places, cache.starts.device)
        for product, inputs in products
    ) and _attention_keeps_bits(places, cache)


def _product_keeps_bits(
    product: Linear,
    inputs: int,
    dtype: torch.dtype,
    places: Sequence[tuple[int, int]],
    device: torch.device,
) -> bool:
    dice = torch.Generator().manual_seed(1)
    row = torch.randn(inputs, generator=dice)
    found = []
    for size, place in places:
        batch = torch.randn(size, inputs, generator=dice)
        batch[place] = row
        found.append(product(batch.to(device, dtype))[place].clone())
    return _all_equal(found)


def _attention_keeps_bits(places: Sequence[tuple[int, int]], cache: KvCache) -> bool:
    """One sequence among others of other lengths, in the memory of the cache's first slots."""
    dice = torch.Generator().manual_seed(2)
    shape, device = cache.shape, cache.starts.device
    length = min(40, shape.positions)
    kept = torch.randn(2, shape.heads, length, shape.width, generator=dice).to(device)
    asked = torch.randn(shape.heads, 1, shape.width, generator=dice).to(device)
    found = []
    for size, place in places:
        size, place = min(size, shape.slots), min(place, shape.slots - 1)
        lengths = [length + 7 * ((row - place) % 5) for row in range(size)]
        cache.part(place, 0, length)[0].copy_(kept)
        queries = torch.randn(size, shape.heads, 1, shape.width, generator=dice).to(device)
        queries[place] = asked
        out = torch.empty(size * shape.heads, 1, shape.width, device=device)
        for group in kv_cache.grouped(
            cache, range(size), [min(n, shape.positions) for n in lengths]
        ):
            part = queries[group.rows].reshape(-1, 1, shape.width)
            kv_cache.attend(cache, 0, group, part, 1.0, out[group.lanes])
        found.append(out.view(size, -1)[place].clone())
        cache.wipe(place)
    return _all_equal(found)


def _all_equal(found: Sequence[Tensor]) -> bool:
    return all(torch.equal(found[0], each) for each in found[1:])
