"""What every measurement asks for: how long a prompt, how many tokens, how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

#: Long enough for every prompt that is asked for: it is repeated where it is not.
TEXT = (
    "The old lighthouse stood at the end of the pier, and every evening the keeper climbed the "
    "stairs with a lamp in his hand. From the window he could see the whole of the bay, the boats "
    "that came home late, and far away the first lights of the town. "
)


@dataclass(frozen=True, slots=True)
class Workload:
    """One request, asked for by everybody alike; `rounds` waves of it are measured."""

    prompt_tokens: int = 32
    new_tokens: int = 120
    rounds: int = 3
    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 0.95
    repetition_penalty: float = 1.0

    def fields(self) -> dict[str, Any]:
        return asdict(self)

    def prompt(self, encode: Callable[[str], list[int]]) -> list[int]:
        """The first `prompt_tokens` tokens of a plain English text."""
        copies, ids = 1, encode(TEXT)
        while len(ids) < self.prompt_tokens:
            copies *= 2
            ids = encode(TEXT * copies)
        return ids[: self.prompt_tokens]

    def body(self, prompt: str, seed: int) -> dict[str, Any]:
        """The same request as JSON for `POST /generate`."""
        return {
            "prompt": prompt,
            "seed": seed,
            "max_tokens": self.new_tokens,
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "repetition_penalty": self.repetition_penalty,
        }
