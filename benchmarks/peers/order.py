"""What each measuring process is told, and how it answers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from minivault.bench.workload import Workload

#: New tokens of the wave before the one that counts: it makes room and chooses kernels.
_WARM_UP = 16

#: Generates for this many prompts at once, this many tokens each; returns how many came out.
Generate = Callable[[int, int], int]


@dataclass(frozen=True, slots=True)
class Order:
    """One contender's task: `model` is the folder or file that it reads, `batches` what it runs."""

    model: str
    width: str
    threads: int
    batches: tuple[int, ...]
    prompt: str
    prompt_ids: tuple[int, ...]
    workload: Workload
    port: int = 0  # of the server that is asked, where there is one

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def told(self, **changes: Any) -> Order:
        return replace(self, **changes)


def read_order() -> Order:
    """The order on the command line."""
    fields = json.loads(sys.argv[1])
    fields["workload"] = Workload(**fields["workload"])
    return Order(**{name: _tuple(value) for name, value in fields.items()})


def answer(order: Order, generate: Generate) -> None:
    """Measures every batch once, after a short wave that does not count, and prints the rows."""
    for batch in order.batches:
        generate(batch, _WARM_UP)
        begin = time.perf_counter()
        tokens = generate(batch, order.workload.new_tokens)
        tell(batch, tokens, time.perf_counter() - begin)


def tell(batch: int, tokens: int, seconds: float) -> None:
    """One row as a line of JSON."""
    print(json.dumps({"batch": batch, "tokens_per_second": tokens / seconds}), flush=True)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
