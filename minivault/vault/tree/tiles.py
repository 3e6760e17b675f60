"""Tiles: the tree in files of 256 hashes (c2sp.org/tlog-tiles), and what is read from them.

A full tile never changes; what is unfinished at the right edge is a partial tile of its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from minivault.merkle import EMPTY, HASH_SIZE, fold, leaf, node, split

WIDTH = 256
ENTRIES = "entries"

#: Reads a tile by its path. Raises OSError, FileNotFoundError where there is none.
Get = Callable[[str], bytes]
Put = Callable[[str, bytes], None]


class DamagedTiles(Exception):
    """A tile is missing, or is not what its tree has there."""


def tile_path(level: int | str, number: int, width: int = WIDTH) -> str:
    """Three digits a step, all but the last step marked with an x."""
    digits = f"{number % 1000:03d}"
    while number >= 1000:
        number //= 1000
        digits = f"x{number % 1000:03d}/{digits}"
    return f"tile/{level}/{digits}" + (f".p/{width}" if width < WIDTH else "")


def edge_paths(size: int) -> list[str]:
    """The partial tiles of a tree of this size."""
    paths, left, level = [], size, 0
    while left:
        if left % WIDTH:
            paths.append(tile_path(level, left // WIDTH, left % WIDTH))
        left, level = left // WIDTH, level + 1
    if size % WIDTH:
        paths.append(tile_path(ENTRIES, size // WIDTH, size % WIDTH))
    return paths


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries as a file has them: each after its length in two bytes."""
    return b"".join(len(entry).to_bytes(2) + entry for entry in entries)


def unbundle(data: bytes) -> list[bytes]:
    """Raises DamagedTiles."""
    entries, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2])
        entries.append(data[at + 2 : end])
        at = end
    if at != len(data):
        raise DamagedTiles("a bundle of entries is cut short")
    return entries


class Edge:
    """The right edge of a tree, all that is needed for it to grow.

    `put` gets each full tile once, as it is completed, and from `seal` the partial ones.
    """

    def __init__(self, put: Put) -> None:
        self._put = put
        self.size = 0
        self._levels: list[list[bytes]] = [[]]  # the unfinished tile of each level
        self._entries: list[bytes] = []

    @classmethod
    def load(cls, size: int, get: Get, put: Put) -> Edge:
        """The edge of a sealed tree of this size, from its partial tiles alone.

        Raises DamagedTiles for a tile that is missing or has another size.
        """
        edge = cls(put)
        edge.size, left, level = size, size, 0
        while left or level == 0:
            if level:
                edge._levels.append([])
            if width := left % WIDTH:
                data = read_tile(get, tile_path(level, left // WIDTH, width), width * HASH_SIZE)
                edge._levels[level] = _hashes(data)
            left, level = left // WIDTH, level + 1
        if width := size % WIDTH:
            edge._entries = read_entries(get, size // WIDTH, width)
            if [leaf(entry) for entry in edge._entries] != edge._levels[0]:
                raise DamagedTiles("the newest entries are not those of the tree")
        return edge

    @property
    def root(self) -> bytes:
        peaks = []
        for tile in reversed(self._levels):
            at = 0
            for bit in reversed(range(WIDTH.bit_length() - 1)):
                if len(tile) >> bit & 1:
                    peaks.append(fold(tile[at : at + (1 << bit)]))
                    at += 1 << bit
        if not peaks:
            return EMPTY
        root = peaks.pop()
        while peaks:
            root = node(peaks.pop(), root)
        return root

    def append(self, entries: Iterable[bytes]) -> None:
        for entry in entries:
            self._entries.append(entry)
            self._levels[0].append(leaf(entry))
            self.size += 1
            if len(self._entries) == WIDTH:
                number = self.size // WIDTH - 1
                self._put(tile_path(ENTRIES, number), bundle(self._entries))
                self._entries = []
                self._finish(0, number)

    def _finish(self, level: int, number: int) -> None:
        """A tile is full: it is one hash of the level above."""
        tile = self._levels[level]
        self._put(tile_path(level, number), b"".join(tile))
        self._levels[level] = []
        if level + 1 == len(self._levels):
            self._levels.append([])
        above = self._levels[level + 1]
        above.append(fold(tile))
        if len(above) == WIDTH:
            self._finish(level + 1, number // WIDTH)

    def seal(self) -> None:
        """Puts the partial tiles: now a checkpoint of this size may be published."""
        for level, tile in enumerate(self._levels):
            if tile:
                number = self.size // WIDTH ** (level + 1)
                self._put(tile_path(level, number, len(tile)), b"".join(tile))
        if self._entries:
            path = tile_path(ENTRIES, self.size // WIDTH, len(self._entries))
            self._put(path, bundle(self._entries))


class Tiles:
    """A tree of `size` entries, read from its tiles. Raises DamagedTiles."""

    def __init__(self, size: int, get: Get) -> None:
        self.size = size
        self._get = get
        self._read: dict[tuple[int, int], list[bytes]] = {}

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` entries, over all of them if it is not given."""
        size = self.size if size is None else size
        return self._subtree(0, size) if size else EMPTY

    def entries(self, number: int) -> list[bytes]:
        """The bundle with entry `number` * 256 and those after it."""
        return read_entries(self._get, number, min(WIDTH, self.size - number * WIDTH))

    def entries_from(self, index: int) -> Iterator[list[bytes]]:
        """The entries from that one on, bundle by bundle."""
        while index < self.size:
            some = self.entries(index // WIDTH)[index % WIDTH :]
            yield some
            index += len(some)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The hashes that show that entry `index` is in the tree (RFC 9162, 2.1.3.1).

        In the tree of the first `size` entries, if that is given.
        """
        proof, low, high = [], 0, self.size if size is None else size
        while high - low > 1:
            middle = low + split(high - low)
            if index < middle:
                proof.append(self._subtree(middle, high))
                high = middle
            else:
                proof.append(self._subtree(low, middle))
                low = middle
        return proof[::-1]

    def consistency(self, old: int, size: int | None = None) -> list[bytes]:
        """The hashes that show that the tree grew from its first `old` (RFC 9162, 2.1.4.1)."""
        proof, low, high = [], 0, self.size if size is None else size
        if not 0 < old < high:
            return []
        while old != high:
            middle = low + split(high - low)
            if old <= middle:
                proof.append(self._subtree(middle, high))
                high = middle
            else:
                proof.append(self._subtree(low, middle))
                low = middle
        if low:
            proof.append(self._subtree(low, high))
        return proof[::-1]

    def _subtree(self, low: int, high: int) -> bytes:
        """The root over the entries from `low` to before `high`."""
        size = high - low
        if size & (size - 1):
            middle = low + split(size)
            return node(self._subtree(low, middle), self._subtree(middle, high))
        level = (size.bit_length() - 1) // 8
        step: int = WIDTH**level
        found = []
        for number in range(low // step, high // step):
            tile, at = divmod(number, WIDTH)
            if (level, tile) not in self._read:
                width = min(WIDTH, self.size // step - tile * WIDTH)
                data = read_tile(self._get, tile_path(level, tile, width), width * HASH_SIZE)
                self._read[level, tile] = _hashes(data)
            found.append(self._read[level, tile][at])
        return fold(found)


def read_tile(get: Get, path: str, length: int) -> bytes:
    """Raises DamagedTiles unless there is a tile of this many bytes."""
    data, is_full = _found(get, path)
    data = data[:length] if is_full else data
    if len(data) != length:
        raise DamagedTiles(f"{path} has {len(data)} bytes, not {length}")
    return data


def read_entries(get: Get, number: int, width: int) -> list[bytes]:
    """The first `width` entries of a bundle. Raises DamagedTiles unless it has that many."""
    path = tile_path(ENTRIES, number, width)
    data, is_full = _found(get, path)
    entries = unbundle(data)
    if len(entries) < width or (len(entries) > width and not is_full):
        raise DamagedTiles(f"{path} has {len(entries)} entries, not {width}")
    return entries[:width]


def _found(get: Get, path: str) -> tuple[bytes, bool]:
    """A file, and whether it is the full one: a partial one that is gone gave way to that, which
    begins with it."""
    full, partial, _ = path.partition(".p/")
    try:
        try:
            return get(path), False
        except FileNotFoundError:
            if not partial:
                raise
            return get(full), True
    except OSError as error:
        raise DamagedTiles(f"{path} cannot be read: {error.strerror}") from error


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]
