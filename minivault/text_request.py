"""A request for a text as /v1 makes it of what came, and how it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from minivault.schemas import GenerateRequest
from minivault.steering import Steering


class Turn(BaseModel):
    """A message as chat templates know them: also what a tool was asked for, and answered."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class TextRequest(GenerateRequest, Steering):
    """A request as /v1 makes it of what came. One of `prompt`, `turns` and `tokens` is set.

    `tokens` is a prompt of token ids; an empty one is the token that texts begin with. More tokens
    than fit may be asked for: `max_tokens` is cut to what is left.
    """

    max_tokens: int = Field(default=128, ge=0)  # 0: the prompt's log probabilities alone
    turns: list[Turn] | None = None
    tokens: list[int] | None = None

    @model_validator(mode="after")
    def _either_prompt_or_messages(self) -> TextRequest:
        if sum(each is not None for each in (self.prompt, self.turns, self.tokens)) != 1:
            raise ValueError("exactly one of prompt, messages and tokens is required")
        return self

    @property
    def conversation(self) -> list[dict[str, Any]]:
        return [each.model_dump(exclude_none=True) for each in self.turns or []]


@dataclass(frozen=True, slots=True)
class Call:
    """How a request came over /v1, for the record and whoever reads it later.

    `group` is the id of the first of several choices, `index` the choice. `ignored` names fields
    that had no effect. `private` goes with the text when that is redacted or not stored.
    """

    door: str
    index: int = 0
    group: str | None = None
    ignored: tuple[str, ...] = ()
    private: Mapping[str, Any] = field(default_factory=dict)
