"""The engine: draws tokens for every running sequence, step by step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from threading import Condition, Thread

from minivault.engine.masks import Masks
from minivault.engine.output_processor import OutputProcessor
from minivault.engine.runner import Runner
from minivault.engine.scheduler import Scheduler
from minivault.engine.sequence import Output, Sequence, State
from minivault.errors import Unavailable, contained
from minivault.schemas import FinishReason
from minivault.trace import trace

Deliver = Callable[[list[Output]], None]

PREFILL_TOKENS = 64
"""A step prefills newcomers until it has computed so many tokens, then the others get theirs."""

HANGS_AFTER = 60.0
"""Seconds after which a step is said to hang."""

_log = logging.getLogger(__name__)


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
        self._runner = runner
        self._kv_memory = kv_memory
        self._outputs = OutputProcessor(runner, end_ids)
        self._scheduler = Scheduler(
            max_running=max_running, kv_tokens=kv_memory // runner.kv_bytes_per_token
        )
        self._changed = Condition()
        self._masks = Masks(self._mask_is_there)
        self._thread: Thread | None = None
        self._closing = False
        self._broken: str | None = None
        self._began: float | None = None
        self._counts = dict.fromkeys(("steps", "tokens", "step_seconds", "schema_seconds"), 0.0)
        self._last = {"last_step_seconds": 0.0, "batch_size": 0.0}

    def add(self, sequence: Sequence) -> None:
        """Queues a sequence; they get their places in order of arrival.

        Raises ValueError for a prompt that is empty or leaves no room for a token, and for one that
        could never be held in `kv_memory`; Unavailable after `close` or a fatal error.
        """
        if not 0 < len(sequence.prompt) < self._runner.context_length:
            raise ValueError("a prompt has at least one token, and leaves room for one")
        tokens = min(sequence.most_tokens, self._runner.context_length)
        with self._changed:
            if self._closing or self._broken:
                raise Unavailable(self._broken or "the engine is closed")
            self._scheduler.queue(sequence, self._runner.reserved_tokens(tokens))
            self._changed.notify()

    def share(self, tokens: int) -> float:
        """The part of `kv_memory` that a sequence of so many tokens is charged. Any thread."""
        most = min(tokens, self._runner.context_length)
        return self._runner.reserved_tokens(most) / max(1, self._scheduler.kv_tokens)

    def shortage(self) -> str | None:
        """A sentence where `kv_memory` cannot hold one text as long as the model's context."""
        context = self._runner.context_length
        if self.share(context) <= 1:
            return None
        wanted = self._runner.reserved_tokens(context) * self._runner.kv_bytes_per_token
        return (
            f"the memory for keys and values holds {self._scheduler.kv_tokens} tokens, less than "
            f"this model's context of {context}: longer texts are refused; --kv-memory "
            f"{-(-wanted // 2**20)}MiB holds one"
        )

    def cancel(self, sequence: Sequence) -> None:
        """Ends a sequence at the next step, with an output whose finish is CANCELLED.

        Does nothing to one that has ended.
        """
        with self._changed:
            sequence.cancelled = True
            self._changed.notify()

    def step(self) -> list[Output]:
        """The next token of every running sequence, those that were guessed rightly after it, and
        a part of a newcomer's prefill.

        One that waits for its mask sits out. Empty if there was nothing to say (or nothing to do:
        see `busy`). What a sequence makes the runner raise ends that one alone, with an output
        whose finish is ERROR.
        """
        self._began = began = time.monotonic()
        with self._changed:
            cancelled = [each for each in self._scheduler if each.cancelled]
        outputs = [self._outputs.ended(each, FinishReason.CANCELLED) for each in cancelled]
        self._release(cancelled)
        with self._changed:
            self._scheduler.admit()
        outputs += self._prefill()
        ready = [each for each in self._scheduler.running if each.is_ready]
        if ready:
            decoded = self._outputs.decode(ready)
            outputs += decoded
            if ended := [each.sequence for each in decoded if each.finish is not None]:
                self._release(ended)
            going = [each for each in decoded if each.token_id is not None and not each.finish]
            if held := [each.sequence for each in going if each.sequence.constraint is not None]:
                self._masks.prepare(held, time.monotonic() - began)
        seconds = time.monotonic() - began
        self._began = None
        self._counts["steps"] += 1
        self._counts["tokens"] += sum(each.token_id is not None for each in outputs)
        self._counts["step_seconds"] += seconds
        self._last = {"last_step_seconds": seconds, "batch_size": len(ready)}
        return outputs

    @property
    def busy(self) -> bool:
        """True while a sequence waits or runs."""
        with self._changed:
            return len(self._scheduler) > 0

    def start(self, deliver: Deliver) -> None:
        """Starts the engine's thread; `deliver` gets all outputs of a step in one call, there.

        `deliver` must return at once and not raise: whatever it raises ends the engine, and
        `problem` says so.
        """
        self._thread = Thread(target=self._run, args=(deliver,), name="engine", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops after the step under way, which gets a minute, and releases all sequences.

        Sequences that were not through get no further output. May be called more than once.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(HANGS_AFTER)
            if self._thread.is_alive():
                return
        self._masks.close()
        self._release(list(self._scheduler))

    def problem(self) -> str | None:
        """Why the engine cannot work: its thread died, or a step has hung for a minute."""
        began = self._began
        if began is not None and time.monotonic() - began > HANGS_AFTER:
            return f"a step of the engine has taken more than {HANGS_AFTER:.0f} s"
        gone = self._thread is not None and not self._thread.is_alive() and not self._closing
        return self._broken or ("the engine's thread is gone" if gone else None)

    def statistics(self) -> Mapping[str, float]:
        """running, waiting, kv_bytes, kv_limit_bytes, steps, tokens, step_seconds (sum),
        schema_seconds (for which texts sat out, in all), last_step_seconds, batch_size (of the
        last step), and the runner's own counters.
        """
        with self._changed:
            waiting = self._scheduler.waiting
            running = len(self._scheduler) - waiting
            tokens = self._scheduler.charged_tokens
        return {
            "running": running,
            "waiting": waiting,
            "kv_bytes": tokens * self._runner.kv_bytes_per_token,
            "kv_limit_bytes": self._kv_memory,
            **self._counts,
            **self._last,
            **self._runner.statistics(),
        }

    def _prefill(self) -> list[Output]:
        """Parts of prompts, whole ones first come first, until the step's share is used up."""
        outputs: list[Output] = []
        left = PREFILL_TOKENS
        for sequence in self._scheduler.prefilling:
            if left <= 0:
                break
            left -= min(len(sequence.prompt) - 1, PREFILL_TOKENS)
            try:
                if self._runner.prefill(sequence):
                    with self._changed:
                        self._scheduler.run(sequence)
            except BaseException as error:  # noqa: BLE001 (a runner raises anything)
                outputs.append(self._outputs.failed(sequence, error))
                self._release([sequence])
        return outputs

    def _release(self, sequences: Iterable[Sequence]) -> None:
        """Takes out sequences that get no further output."""
        for sequence in sequences:
            with self._changed:
                self._scheduler.end(sequence)
            try:
                self._runner.release(sequence)
            except BaseException as error:  # noqa: BLE001 (its place is lost, but no other text)
                _log.error("an ended text could not be released:\n%s", trace(contained(error)))

    def _run(self, deliver: Deliver) -> None:
        """The engine's thread."""
        try:
            while self._wait():
                if outputs := self.step():
                    deliver(outputs)
        except BaseException as error:  # noqa: BLE001 (the thread ends here, and says so)
            self._broken = f"the engine has stopped: {type(error).__name__}"
            _log.error("the engine has stopped:\n%s", trace(error))
            self._give_up(deliver, error)

    def _wait(self) -> bool:
        """Sleeps until there is something to do; False if it is time to go."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not self._scheduler.is_idle())
            return not self._closing

    def _mask_is_there(self, seconds: float) -> None:
        with self._changed:
            self._counts["schema_seconds"] += seconds
            self._changed.notify()

    def _give_up(self, deliver: Deliver, error: BaseException) -> None:
        """Tells all sequences that they have failed, if anybody can still be told."""
        left = [each for each in self._scheduler if each.state is not State.ENDED]
        outputs = [self._outputs.failed(each, error) for each in left]
        self._release(left)
        try:
            deliver(outputs)
        except BaseException as again:  # noqa: BLE001 (it may be what broke the engine)
            _log.error("the outputs of a broken engine could not be delivered:\n%s", trace(again))
