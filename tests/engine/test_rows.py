"""Which operators give one row the same bits at every place of every batch.

These tests chose the operators of the engine: a row goes through all places of batches of 2 to 512
rows, for every shape of GPT-2, width of weights and number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
import torch
from torch import Tensor

from minivault.engine import kv_cache
from minivault.engine.kv_cache import CacheShape, KvCache
from minivault.engine.runners.linear import Activation, Kind, make_linear

full = pytest.mark.skipif(
    not os.environ.get("MINIVAULT_FULL"), reason="minutes of products: `make faults` runs it"
)
Width = Literal["float32", "bfloat16", "int8"]

SMALL_SHAPES = ((48, 144), (256, 768), (256, 256))
GPT2_SHAPES = ((768, 2304), (768, 768), (768, 3072), (3072, 768), (256, 8192), (768, 50257))
FEW = (2, 3, 17)
MANY = (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 100, 128, 200, 300, 512)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def places(size: int) -> list[int]:
    """Every place of a small batch; the first, the last and the middle of a large one."""
    if size <= 33:
        return list(range(size))
    return [*range(16), size // 2, *range(size - 8, size)]


def different(
    operate: Callable[[Tensor], Tensor], row: Tensor, sizes: tuple[int, ...]
) -> list[tuple[int, int]]:
    """The batch sizes and places at which the row's bits are not those it has in a batch of two."""
    dice = torch.Generator().manual_seed(3)
    first = operate(torch.stack([row, row]))[0].clone()
    wrong = []
    for size in sizes:
        batch = torch.randn((size, *row.shape), generator=dice).to(row.dtype)
        for place in places(size):
            placed = batch.clone()
            placed[place] = row
            if not torch.equal(operate(placed)[place], first):
                wrong.append((size, place))
    return wrong


def product(
    kind: Kind, dtype: torch.dtype, inputs: int, outputs: int, use: str
) -> Callable[[Tensor], Tensor]:
    dice = torch.Generator().manual_seed(inputs + outputs)
    weight = torch.randn(outputs, inputs, generator=dice).to(dtype)
    bias = torch.randn(outputs, generator=dice).to(dtype)
    activation: Activation | None = "gelu_tanh" if use == "activated" else None
    layer = make_linear(kind, weight, bias, activation)
    if use != "added":
        return layer
    return lambda x: layer(x, x[:, :1].expand(-1, outputs).contiguous())


def check_products(
    width: Width, shapes: tuple[tuple[int, int], ...], sizes: tuple[int, ...]
) -> None:
    kind: Kind = "int8" if width == "int8" else "packed"
    dtype = torch.bfloat16 if width == "bfloat16" else torch.float32
    for inputs, outputs in shapes:
        row = torch.randn(inputs, generator=torch.Generator().manual_seed(1)).to(dtype)
        for use in ("alone", "activated", "added"):
            operate = product(kind, dtype, inputs, outputs, use)
            assert different(operate, row, sizes) == [], (width, inputs, outputs, use)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("width", ["float32", "bfloat16", "int8"])
@torch.inference_mode()
def test_a_product_gives_a_row_the_same_bits_at_every_place(width: Width, count: int) -> None:
    with threads(count):
        check_products(width, SMALL_SHAPES, FEW)


@full
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("width", ["float32", "bfloat16", "int8"])
@torch.inference_mode()
def test_gpt2s_products_give_a_row_the_same_bits_at_every_place(width: Width, count: int) -> None:
    with threads(count):
        check_products(width, GPT2_SHAPES[:-1], MANY)
        check_products(width, GPT2_SHAPES[-1:], (2, 8, 17))


@torch.inference_mode()
def test_one_row_alone_differs_from_two_so_that_batches_are_padded() -> None:
    operate = product("packed", torch.float32, 3072, 768, "alone")
    row = torch.randn(3072, generator=torch.Generator().manual_seed(1))
    alone = operate(row[None])[0]
    paired = operate(torch.stack([row, row]))[0]
    if torch.equal(alone, paired):
        pytest.skip("this processor computes one row as it computes two")
    assert torch.allclose(alone, paired, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_layer_norm_and_softmax_look_at_one_row_alone(dtype: torch.dtype, count: int) -> None:
    weight = torch.linspace(0.5, 1.5, 768).to(dtype)

    def norm(x: Tensor) -> Tensor:
        return torch.layer_norm(x, (768,), weight, weight, 1e-5)

    row = torch.randn(768, generator=torch.Generator().manual_seed(1)).to(dtype)
    with threads(count):
        assert different(norm, row, FEW) == []
        assert different(lambda x: torch.softmax(x, -1), row, FEW) == []


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("heads,width", [(4, 64), (3, 16), (3, 20), (2, 4)])
@torch.inference_mode()
def test_attention_is_the_same_at_every_place_and_padding(
    heads: int, width: int, count: int
) -> None:
    with threads(count):
        assert attention_differs(heads, width, lengths=(1, 33, 100), batches=(1, 2, 5, 17)) == []


@full
@pytest.mark.parametrize("count", [1, 2])
@torch.inference_mode()
def test_gpt2s_attention_is_the_same_at_every_place_and_padding(count: int) -> None:
    lengths, batches = (1, 5, 31, 32, 33, 64, 100, 255, 480), (1, 2, 3, 4, 7, 8, 16, 17, 32)
    with threads(count):
        assert attention_differs(12, 64, lengths, batches) == []


def attention_differs(
    heads: int, width: int, lengths: tuple[int, ...], batches: tuple[int, ...]
) -> list[tuple[int, int, int]]:
    """(length, batch, place) at which one sequence's attention is not what it is when alone.

    Longer neighbours pad it, by up to the whole context.
    """
    cache = KvCache(CacheShape.for_context(1, 34, heads, 512, width), torch.device("cpu"))
    dice = torch.Generator().manual_seed(5)
    cache.keys[0].normal_(generator=dice)
    cache.values[0].normal_(generator=dice)
    wrong = []
    for length in lengths:
        row = torch.randn(3, heads, length, width, generator=dice)
        alone = attended(cache, row, length, [length], 0, dice)
        for batch in batches:
            for place in {0, 1, batch // 2, batch - 1} & set(range(batch)):
                for longer in (0, min(40, 512 - length), 512 - length):
                    others = [length + longer] * batch
                    found = attended(cache, row, length, others, place, dice)
                    if not torch.equal(found, alone):
                        wrong.append((length, batch, place))
    return wrong


def attended(
    cache: KvCache, row: Tensor, length: int, lengths: list[int], place: int, dice: torch.Generator
) -> Tensor:
    """Attention for the row's last query, in slot `place` + 1 among others of these lengths."""
    heads, width = cache.shape.heads, cache.shape.width
    lengths = [*lengths]
    lengths[place] = length
    cache.part(place + 1, 0, length)[0].copy_(row[1:])
    queries = torch.randn(len(lengths), heads, width, generator=dice)
    queries[place] = row[0, :, -1]
    counts = torch.tensor(lengths).repeat_interleave(heads)[:, None]
    columns = -(-max(*lengths, 512 // width * 2) // kv_cache.COLUMNS) * kv_cache.COLUMNS
    hidden = torch.arange(columns) >= counts
    mask = torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf"))[:, None]
    lanes = slice(heads, heads * (len(lengths) + 1))
    group = kv_cache.Group(slice(0, len(lengths)), lanes, columns, mask)
    out = torch.empty(len(lengths) * heads, 1, width)
    kv_cache.attend(cache, 0, group, queries.view(-1, 1, width), 0.125, out)
    return out.view(len(lengths), heads, width)[place]
