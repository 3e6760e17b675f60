"""Which worker runs which tests, and in what order: what takes long first, so that none is left
with it at the end."""

from __future__ import annotations

from collections import Counter

import pytest
from xdist.scheduler import LoadFileScheduling

ENGINE = ("tests/engine/", "tests/gguf/", "tests/backends/test_local.py")
"""What loads transformers, which takes seconds."""

_SLOW = 20  # times as long as another test


class FileScheduling(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Each file stays together, and so do those of the engine: one worker loads transformers."""

    def _split_scope(self, nodeid: str) -> str:
        return "engine" if nodeid.startswith(ENGINE) else str(super()._split_scope(nodeid))


def arrange(items: list[pytest.Item]) -> None:
    """The engine's files, those that share a Chromium, and the others by what they may take."""
    long: Counter[str] = Counter()
    in_chromium = {_file(item) for item in items if item.get_closest_marker("browser")}
    for item in items:
        long[_file(item)] += _SLOW if item.get_closest_marker("slow") else 1

    def place(item: pytest.Item) -> tuple[bool, bool, int, str]:
        file = _file(item)
        return not file.startswith(ENGINE), file not in in_chromium, -long[file], file

    items.sort(key=place)


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
