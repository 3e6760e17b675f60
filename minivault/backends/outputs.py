"""What the engine's thread has said, on its way to those that asked."""

from __future__ import annotations

import asyncio
from collections import deque

from minivault.engine.sequence import Output


class Outputs:
    """What the engine has said to one request and was not read yet. The event loop's alone."""

    __slots__ = ("_items", "_waiter")

    def __init__(self) -> None:
        self._items: deque[Output | Exception] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Output | Exception) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Output:
        """The next output. Raises the error that came in its place or with it."""
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        item = self._items.popleft()
        if isinstance(item, Exception):
            raise item
        if item.error is not None:
            raise item.error
        return item


def fan_out(outputs: list[Output]) -> None:
    for output in outputs:
        output.sequence.owner.put(output)
