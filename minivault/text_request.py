"""A request for a text as /v1 makes it of what came, and how it came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from minivault.schemas import GenerateRequest
from minivault.steering import Steering


class Tool(BaseModel):
    """A function that the model may ask its client to call; `parameters` is a JSON schema."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    name: str
    description: str | None = None
    parameters: dict[str, Any]


class Tools(BaseModel):
    """What may be called. `choice`: auto, required, or the name of the one that must be called.

    `parallel`: several calls may stand in one answer.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    offered: list[Tool]
    choice: str = "auto"
    parallel: bool = True

    @property
    def shown(self) -> list[dict[str, Any]]:
        """As chat templates get them."""
        functions = [each.model_dump(exclude_none=True) for each in self.offered]
        return [{"type": "function", "function": each} for each in functions]

    @property
    def callable(self) -> list[Tool]:
        """Those that may be called in this answer."""
        named = [each for each in self.offered if each.name == self.choice]
        return self.offered if self.choice in ("auto", "required") else named


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
    than fit may be asked for: `max_tokens` is cut to what is left. `tools` may be called in the
    answer to `turns`; `template` is what else the chat template is told.
    """

    left_out: ClassVar[tuple[str, ...]] = ("tools", "template")

    max_tokens: int = Field(default=128, ge=0)  # 0: the prompt's log probabilities alone
    turns: list[Turn] | None = None
    tokens: list[int] | None = None
    tools: Tools | None = None
    template: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _either_prompt_or_messages(self) -> TextRequest:
        if sum(each is not None for each in (self.prompt, self.turns, self.tokens)) != 1:
            raise ValueError("exactly one of prompt, messages and tokens is required")
        return self

    @property
    def conversation(self) -> list[dict[str, Any]]:
        return [each.model_dump(exclude_none=True) for each in self.turns or []]

    @property
    def told(self) -> dict[str, Any]:
        """What the chat template can read besides the conversation."""
        tools = {"tools": self.tools.shown} if self.tools else {}
        return {**(self.template or {}), **tools}


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
