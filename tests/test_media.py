"""The README's film: short enough to be watched, small enough to be loaded."""

from __future__ import annotations

import struct
from pathlib import Path

FILM = Path(__file__).parents[1] / "docs" / "media" / "demo.webp"


def test_the_film_keeps_to_its_length_and_size() -> None:
    data = FILM.read_bytes()
    assert len(data) <= 2_000_000
    milliseconds, at = 0, 12  # behind RIFF, its size, WEBP
    while at < len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"ANMF":  # a frame: x, y, width, height, duration in 3 bytes each
            milliseconds += int.from_bytes(data[at + 20 : at + 23], "little")
        at += 8 + size + size % 2
    assert 10_000 < milliseconds <= 20_000
