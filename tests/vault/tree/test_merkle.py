"""Trees of every size against the definition; proofs, and every bit of them."""

from __future__ import annotations

import hashlib
import random
from functools import cache

import pytest

from minivault.merkle import EMPTY, grew, includes, leaf, node
from minivault.vault.tree.tiles import (
    WIDTH,
    DamagedTiles,
    Edge,
    Tiles,
    bundle,
    edge_paths,
    read_entries,
    tile_path,
    unbundle,
)
from tests.tools import FULL

#: All, or those around where a tree gets another level or tile.
SIZES = [
    size for size in range(1, 701) if FULL or size < 40 or size % 256 in (0, 1, 2, 127, 128, 255)
]
ENTRIES = [hashlib.sha256(b"%d" % number).digest() for number in range(701)]


@cache
def defined(low: int, high: int) -> bytes:
    """The root as RFC 9162, 2.1.1 defines it."""
    if high - low < 2:
        return leaf(ENTRIES[low]) if high > low else hashlib.sha256(b"").digest()
    middle = low + max(1 << bit for bit in range(10) if 1 << bit < high - low)
    return node(defined(low, middle), defined(middle, high))


@pytest.fixture(scope="module")
def tiles() -> dict[str, bytes]:
    """The tiles of trees of all sizes up to 700, each sealed, as a log grows."""
    store: dict[str, bytes] = {}
    edge = Edge(store.__setitem__)
    for size in range(1, 701):
        edge.append(ENTRIES[size - 1 : size])
        edge.seal()
        assert edge.root == defined(0, size)
    return store


def test_every_size_has_the_root_of_the_definition(tiles: dict[str, bytes]) -> None:
    assert Edge(tiles.__setitem__).root == EMPTY == Tiles(0, tiles.__getitem__).root()
    for size in SIZES:
        assert Tiles(size, tiles.__getitem__).root() == defined(0, size)
        edge = Edge.load(size, tiles.__getitem__, tiles.__setitem__)
        assert edge.root == defined(0, size)
        edge.append(ENTRIES[size : size + 1])
        assert edge.root == defined(0, size + 1)
        assert set(edge_paths(size)) <= tiles.keys()


def test_inclusion_is_shown_of_every_entry_and_of_no_other(tiles: dict[str, bytes]) -> None:
    chance = random.Random(7)
    for size in SIZES:
        tree, root = Tiles(size, tiles.__getitem__), defined(0, size)
        for index in {0, size - 1, *chance.sample(range(size), min(size, 3))}:
            proof = tree.inclusion(index)
            assert tree.entries(index // WIDTH)[index % WIDTH] == ENTRIES[index]
            assert includes(root, size, index, ENTRIES[index], proof)
            assert not includes(root, size, index, ENTRIES[index + 1], proof)
            assert not includes(root, size, index + 1, ENTRIES[index], proof)
            assert not includes(root, size, index, ENTRIES[index], [*proof, root])
            assert not includes(root, size, index, ENTRIES[index], proof[:-1]) or not proof


def test_growth_is_shown_from_every_size_and_from_no_other_tree(tiles: dict[str, bytes]) -> None:
    chance = random.Random(8)
    for size in SIZES:
        tree, root = Tiles(size, tiles.__getitem__), defined(0, size)
        for old in {0, 1, size, *chance.sample(range(size), min(size, 3))}:
            proof = tree.consistency(old)
            was = defined(0, old)
            assert grew(was, old, root, size, proof)
            assert tree.root(old) == was
            assert not grew(was, old, root, size, [*proof, root])
            assert not grew(was, old, leaf(b"other"), size, proof) or old == 0
            assert not grew(leaf(b"other"), old, root, size, proof)
            assert not grew(was, size + 1, root, size, proof)
            assert not grew(was, old, root, size, proof[:-1]) or not proof


def test_a_proof_is_as_long_as_the_trees_that_it_names_are_high(tiles: dict[str, bytes]) -> None:
    """Of another tree with the right root: of a higher one, a lower one, and of none."""
    one = {size: Tiles(size, tiles.__getitem__) for size in (4, 8)}
    roots = {size: defined(0, size) for size in (3, 4, 7, 8)}
    assert not includes(roots[8], 4, 1, ENTRIES[5], one[8].inclusion(5))
    assert not includes(roots[4], 8, 1, ENTRIES[1], one[4].inclusion(1))
    assert not grew(roots[7], 3, roots[8], 4, one[8].consistency(7))
    assert not grew(roots[3], 3, roots[4], 8, one[4].consistency(3))
    assert not grew(roots[3], 3, roots[8], 8, [])


def test_every_flipped_bit_of_a_proof_is_seen(tiles: dict[str, bytes]) -> None:
    tree, root = Tiles(700, tiles.__getitem__), defined(0, 700)
    inclusion, consistency = tree.inclusion(300), tree.consistency(300)
    for proof in flipped(inclusion):
        assert not includes(root, 700, 300, ENTRIES[300], proof)
    for proof in flipped(consistency):
        assert not grew(defined(0, 300), 300, root, 700, proof)


def flipped(proof: list[bytes]) -> list[list[bytes]]:
    found = []
    for number, each in enumerate(proof):
        for bit in range(8 * len(each)):
            value = (int.from_bytes(each) ^ 1 << bit).to_bytes(len(each))
            found.append([*proof[:number], value, *proof[number + 1 :]])
    return found


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_an_edge_that_is_damaged_or_missing_is_not_taken(
    size: int, tiles: dict[str, bytes]
) -> None:
    for path in edge_paths(size):
        for value in (tiles[path][:-1], tiles[path] + b"x", b""):
            with pytest.raises(DamagedTiles):
                Edge.load(size, (tiles | {path: value}).__getitem__, tiles.__setitem__)


def test_paths_are_those_of_the_standard() -> None:
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path("entries", 273, 112) == "tile/entries/273.p/112"
    assert edge_paths(70_000) == [
        "tile/0/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
        "tile/entries/273.p/112",
    ]
    assert edge_paths(256) == ["tile/1/000.p/1"]


def test_a_bundle_has_the_entries_that_its_name_says() -> None:
    three = bundle([b"a", b"bc", b""])
    assert unbundle(three) == [b"a", b"bc", b""]
    with pytest.raises(DamagedTiles, match="cut short"):
        unbundle(three[:-3])
    assert read_entries({tile_path("entries", 0, 3): three}.__getitem__, 0, 3)[1] == b"bc"
    for width in (2, 4):
        with pytest.raises(DamagedTiles, match=f"has 3 entries, not {width}"):
            read_entries(lambda path: three, 0, width)
