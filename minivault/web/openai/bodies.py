"""The shapes of what /v1 answers, for /openapi.json; what is told is made where it is told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from minivault.schemas import EffectiveParameters, Receipt, Timings

Finish = Literal["stop", "length", "tool_calls"]


class ErrorDetail(BaseModel):
    """What is wrong; the message alone tells what would be right."""

    message: str
    type: str
    param: str | None = Field(description="The field that is wrong.")
    code: str | None


class ErrorEnvelope(BaseModel):
    """An error as OpenAI's clients read it."""

    error: ErrorDetail


class ServedModel(BaseModel):
    """A name under which the model serves."""

    id: str
    object: Literal["model"]
    created: int = Field(description="When its files were made, in seconds since 1970.")
    owned_by: str
    max_model_len: int = Field(description="Tokens of prompt and text together.")
    meta: dict[str, Any]


class ServedModels(BaseModel):
    """All names under which the model serves."""

    object: Literal["list"]
    data: list[ServedModel]


class OurPart(BaseModel):
    """What only MiniVault tells: enough to find, verify and replay the text."""

    id: str | None = Field(default=None, description="The generation's id.")
    seed: int | None = None
    params: EffectiveParameters | None = Field(default=None, description="Those that were used.")
    finish_reason: str | None = None
    receipt: Receipt | None = Field(default=None, description="Where the record stands.")
    timings: Timings | None = None
    ignored: list[str] = Field(default=[], description="Fields that had no effect.")
    template: Literal["plain"] | None = Field(
        default=None, description="The model has no chat template: it continued the texts."
    )
    choices: list[dict[str, Any]] | None = Field(
        default=None, description="Of several choices the same for each."
    )


class PromptDetails(BaseModel):
    """How many tokens of the prompts had been computed for earlier requests."""

    cached_tokens: int


class TokenUsage(BaseModel):
    """Tokens; those of a prompt count once for all its choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class _Completed(BaseModel):
    id: str = Field(description="A prefix and the generation's id, of several choices the first's.")
    created: int
    model: str
    system_fingerprint: str = Field(description="Changes exactly if the bytes of a text may.")
    usage: TokenUsage
    minivault: OurPart


class ChatMessage(BaseModel):
    """What the assistant said."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    reasoning_content: str | None = Field(default=None, description="What the model thought.")
    tool_calls: list[dict[str, Any]] | None = Field(
        default=None, description="Functions that the client is asked to call."
    )


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: ChatMessage
    logprobs: dict[str, Any] | None
    finish_reason: Finish


class ChatCompletion(_Completed):
    """The answers to a conversation."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class TextChoice(BaseModel):
    """One text."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Finish


class TextCompletion(_Completed):
    """Texts that continue prompts."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class ChunkOfStream(BaseModel):
    """The data of one block of a stream, of which the last is `[DONE]`."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[dict[str, Any]]
    usage: TokenUsage | None = None
    minivault: OurPart | None = Field(default=None, description="In the last chunk.")


class Tokens(BaseModel):
    """The tokens of a text."""

    count: int
    max_model_len: int
    tokens: list[int]


class Detokenized(BaseModel):
    """The text of tokens; special ones by their names."""

    prompt: str


class TokenizerInfo(BaseModel):
    """The names of special tokens, null where there is none."""

    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    chat_template: str | None
    model_max_length: int


class ResponseObject(BaseModel):
    """A response as it is."""

    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    background: bool
    error: dict[str, Any] | None
    incomplete_details: dict[str, Any] | None
    model: str
    output: list[dict[str, Any]]
    previous_response_id: str | None
    usage: dict[str, Any] | None
    minivault: OurPart


class ResponseEvent(BaseModel):
    """The data of one event of a response's stream, of which the last is `[DONE]`."""

    type: str
    sequence_number: int


class InputTokens(BaseModel):
    """How many tokens an input has; null where the model cannot tell."""

    object: Literal["response.input_tokens"]
    input_tokens: int | None
