"""What a text may be steered by besides the parameters that everybody offers."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer


class Steering(BaseModel):
    """What /v1 offers besides; told only where it is not neutral, so that requests without it
    are recorded and hashed as they always were.
    """

    left_out: ClassVar[tuple[str, ...]] = ()  # what else is told only where it is there

    min_p: float = Field(default=0.0, ge=0, le=1)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    logit_bias: dict[int, float] = Field(default_factory=dict, max_length=1024)
    logprobs: bool = False  # of each token, also without alternatives
    prompt_logprobs: bool = False  # of the prompt's own tokens too
    # json_object; json_schema, and the `schema`; calls, see `Tokenizer.call_format`
    response_format: dict[str, Any] | None = None

    @model_serializer(mode="wrap")
    def _without_neutral(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        optional = {*Steering.model_fields, *self.left_out}
        return {name: value for name, value in told.items() if value or name not in optional}
