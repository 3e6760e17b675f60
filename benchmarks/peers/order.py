"""What each measuring process is told, and how it answers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, TextIO

from minivault.bench.workload import Workload

_WARM_UP = 16  # new tokens before those that count: they make room and choose kernels
_SHORT_PROMPT = 32

LONG = 256
"""A prompt of so many tokens is worth a figure of its own, and warms up by itself."""


@dataclass(frozen=True, slots=True)
class Task:
    """So many texts at once, each after a prompt of so many tokens.

    `new_tokens`: of each text; 1 measures the prompt alone.
    """

    at_once: int
    prompt_tokens: int
    new_tokens: int

    @property
    def decode(self) -> str:
        """What the figure of its new tokens is called."""
        after = f" after {self.prompt_tokens}" if self.prompt_tokens > _SHORT_PROMPT else ""
        return f"{self.at_once} at once{after}"

    @property
    def prefill(self) -> str:
        """What the figure of its prompt is called."""
        return f"prefill {self.prompt_tokens}"

    @property
    def figures(self) -> list[str]:
        """What is measured by it. One long prompt tells its own speed, whatever follows it."""
        alone = self.at_once == 1 and self.prompt_tokens >= LONG
        return [self.prefill] * alone + [self.decode] * (self.new_tokens > 1)


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds until all texts had their first token; then seconds, and tokens, to the end."""

    first: float
    rest: float
    tokens: int


def parse_task(text: str, new_tokens: int) -> Task:
    """`8` texts at once, `8@2000` after so long a prompt, `prefill512`. Raises ValueError."""
    if text.isdecimal():
        return Task(int(text), _SHORT_PROMPT, new_tokens)
    if text.startswith("prefill"):
        return Task(1, int(text.removeprefix("prefill")), 1)
    at_once, _, after = text.partition("@")
    return Task(int(at_once), int(after), min(new_tokens, 40))


@dataclass(frozen=True, slots=True)
class Order:
    """One contender's task: `model` is the folder or file that it reads, `width` its word for it.

    `prompt_ids` are as long as the longest prompt, `prompt` is the text of the short one. `target`
    are the compiler's flags for our kernels, none for those of this processor.
    """

    model: str
    width: str
    threads: int
    tasks: tuple[Task, ...]
    prompt: str
    prompt_ids: tuple[int, ...]
    workload: Workload
    port: int = 0  # of the server that is asked, where there is one
    target: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def told(self, **changes: Any) -> Order:
        return replace(self, **changes)


def read_order() -> Order:
    """The order on the command line."""
    fields = json.loads(sys.argv[1])
    fields["workload"] = Workload(**fields["workload"])
    fields["tasks"] = [Task(**each) for each in fields["tasks"]]
    return Order(**{name: _tuple(value) for name, value in fields.items()})


def answer(order: Order, run: Callable[[Task], Times], to: TextIO | None = None) -> None:
    """Measures every task once and prints its figures; short prompts after a wave before."""
    for task in order.tasks:
        if task.prompt_tokens < LONG:
            run(replace(task, new_tokens=_WARM_UP))
        times = run(task)
        if task.prefill in task.figures:
            tell(task.prefill, task.prompt_tokens / times.first, to)
        if task.decode in task.figures:
            tell(task.decode, times.tokens / times.rest, to)


def by_difference(generate: Callable[[Task], int]) -> Callable[[Task], Times]:
    """For those who give whole texts alone: the same with one token, and with all of them.

    `generate` returns how many tokens came out.
    """

    def run(task: Task) -> Times:
        begin = time.perf_counter()
        first = generate(replace(task, new_tokens=1))
        between = time.perf_counter()
        if task.new_tokens == 1:
            return Times(between - begin, 0.0, 0)
        tokens = generate(task)
        first_seconds = between - begin
        return Times(first_seconds, time.perf_counter() - between - first_seconds, tokens - first)

    return run


def tell(figure: str, tokens_per_second: float, to: TextIO | None) -> None:
    """One figure as a line of JSON."""
    line = json.dumps({"figure": figure, "tokens_per_second": tokens_per_second})
    print(line, file=to, flush=True)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
