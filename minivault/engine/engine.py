"""The engine: draws one token for every running sequence, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from minivault.engine.runners.base import Runner
from minivault.engine.sequence import Output, Sequence

Deliver = Callable[[list[Output]], None]


class Engine:
    """Runs sequences on one runner, all together, each as if it were alone.

    Either call `step` by hand, from one thread, or `start` a thread that does. `add`, `cancel`,
    `problem` and `statistics` may be called from any thread at any time.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        max_running: int = 32,
        kv_memory: int = 2**30,
        end_ids: frozenset[int] = frozenset(),
    ) -> None:
        """`kv_memory`: bytes that running sequences may hold. `end_ids`: tokens that end a text."""
        raise NotImplementedError

    def add(self, sequence: Sequence) -> None:
        """Queues a sequence; they get their places in order of arrival.

        Raises ValueError for a prompt that is empty or leaves no room for a token, and for one that
        could never be held in `kv_memory`; Unavailable after `close` or a fatal error.
        """
        raise NotImplementedError

    def cancel(self, sequence: Sequence) -> None:
        """Ends a sequence at the next step, with an output whose finish is CANCELLED.

        Does nothing to one that has ended.
        """
        raise NotImplementedError

    def step(self) -> list[Output]:
        """One token for every running sequence, and a part of a newcomer's prefill.

        Empty if there was nothing to say (or nothing to do: see `busy`). An exception of the runner
        ends only the sequences it concerns, with outputs whose finish is ERROR.
        """
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """True while a sequence waits or runs."""
        raise NotImplementedError

    def start(self, deliver: Deliver) -> None:
        """Starts the engine's thread; `deliver` gets all outputs of a step in one call, there.

        `deliver` must return at once and not raise: whatever it raises ends the engine, and
        `problem` says so.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Stops after the step under way, waits for the thread, releases all sequences.

        Sequences that were not through get no further output. May be called more than once.
        """
        raise NotImplementedError

    def problem(self) -> str | None:
        """Why the engine cannot work: its thread died, or a step has hung for a minute."""
        raise NotImplementedError

    def statistics(self) -> Mapping[str, float]:
        """running, waiting, kv_bytes, kv_limit_bytes, steps, tokens, step_seconds (sum),
        last_step_seconds, batch_size (of the last step), and the runner's own counters.
        """
        raise NotImplementedError
