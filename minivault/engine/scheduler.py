"""Who runs: first come, first served, within a number of places and a bound of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from minivault.engine.sequence import Sequence, State


class Scheduler:
    """Keeps the sequences that wait, those whose prompt is being prefilled, and those that run.

    Not thread-safe: the engine calls it under its lock.
    """

    def __init__(self, *, max_running: int, kv_tokens: int) -> None:
        """`kv_tokens`: for how many tokens all sequences with a place may be charged together."""
        self._max_running = max_running
        self.kv_tokens = kv_tokens
        self._charged: dict[Sequence, int] = {}
        self._waiting: deque[tuple[Sequence, int]] = deque()
        self._prefilling: deque[Sequence] = deque()
        self._running: list[Sequence] = []

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def charged_tokens(self) -> int:
        return sum(self._charged.values())

    @property
    def running(self) -> list[Sequence]:
        """Those that are decoded at the next step, longest here first. A copy."""
        return list(self._running)

    @property
    def prefilling(self) -> list[Sequence]:
        """Those whose prompts are computed next, in order of arrival. A copy."""
        return list(self._prefilling)

    def __iter__(self) -> Iterator[Sequence]:
        """All that have not ended."""
        yield from [*self._running, *self._prefilling, *(each for each, _ in self._waiting)]

    def __len__(self) -> int:
        return len(self._charged) + len(self._waiting)

    def queue(self, sequence: Sequence, tokens: int) -> None:
        """Puts a sequence at the end of the line; `tokens` is what it will be charged.

        Raises ValueError if it could never be held.
        """
        if tokens > self.kv_tokens:
            raise ValueError(
                f"{tokens} tokens do not fit in the memory for keys and values, "
                f"which holds {self.kv_tokens}"
            )
        self._waiting.append((sequence, tokens))

    def admit(self) -> None:
        """Gives places to those who wait, in order, while there are places and memory.

        Nobody overtakes one that is too large for now: it would wait for ever.
        """
        while self._waiting and len(self._charged) < self._max_running:
            sequence, tokens = self._waiting[0]
            if self.charged_tokens + tokens > self.kv_tokens:
                return
            self._waiting.popleft()
            self._charged[sequence] = tokens
            self._prefilling.append(sequence)
            sequence.state = State.PREFILL

    def is_idle(self) -> bool:
        """Whether nothing can be done before one more comes or leaves, or a mask is there.

        Gives places to those who wait.
        """
        self.admit()
        if self._prefilling or any(each.is_ready for each in self._running):
            return False
        return not any(each.cancelled for each in self)

    def run(self, sequence: Sequence) -> None:
        """Its prompt is prefilled: from now on it is decoded."""
        self._prefilling.remove(sequence)
        self._running.append(sequence)
        sequence.state = State.RUNNING

    def end(self, sequence: Sequence) -> None:
        """Takes it out, wherever it is, and frees its place and memory."""
        if self._charged.pop(sequence, None) is None:
            self._waiting = deque(item for item in self._waiting if item[0] is not sequence)
        elif sequence.state is State.RUNNING:
            self._running.remove(sequence)
        else:
            self._prefilling.remove(sequence)
        sequence.state = State.ENDED
