"""POST /tokenize, POST /detokenize, GET /tokenizer_info, as vLLM has them beside /v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from minivault.backends import optional
from minivault.backends.base import Backend
from minivault.background import Pool
from minivault.errors import FieldError, InvalidRequest, Unsupported
from minivault.generations.prompt import plain
from minivault.parsing import parse_object
from minivault.schemas import field_errors
from minivault.web.carried import service_of
from minivault.web.openai import bodies
from minivault.web.openai.asked import check_model
from minivault.web.openai.chat import Said, turns_of
from minivault.web.openai.complaints import in_our_words
from minivault.web.operations import JSON, Operation

MOST_FIELDS = 1024

#: Who asks for tokens keeps nobody waiting who asks for a text.
TOKENS = Pool("tokens", 2, nice=True)


class TokenizeFields(BaseModel):
    """A text, or a conversation."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    model: str | None = None
    prompt: str | None = None
    content: str | None = Field(None, description="Another name for `prompt`.")
    messages: list[Said] | None = Field(None, min_length=1, max_length=1000)
    add_special_tokens: bool = True


class DetokenizeFields(BaseModel):
    """Tokens."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)

    model: str | None = None
    tokens: list[int] = Field(max_length=1_000_000)


async def tokenize(request: Request) -> Response:
    """POST /tokenize."""
    service = service_of(request)
    backend, body = service.registry.open_backend(), await request.body()

    def read() -> list[int]:
        fields = _read(TokenizeFields, body, '{"prompt": "Hello"}')
        check_model(fields.model, backend.info, service.settings.model_alias)
        return _tokens(backend, fields)

    tokens = await TOKENS.run(read)
    length = backend.info.context_length
    return JSONResponse({"count": len(tokens), "max_model_len": length, "tokens": tokens})


async def detokenize(request: Request) -> Response:
    """POST /detokenize."""
    service = service_of(request)
    backend, body = service.registry.open_backend(), await request.body()

    def read() -> str:
        fields = _read(DetokenizeFields, body, '{"tokens": [1, 2]}')
        check_model(fields.model, backend.info, service.settings.model_alias)
        if any(not 0 <= each < 2**31 for each in fields.tokens):
            raise InvalidRequest([FieldError("tokens", _RIGHT["tokens"])])
        try:
            text = optional.detokenize(backend, fields.tokens)
        except InvalidRequest as error:  # it speaks of prompts
            raise InvalidRequest([FieldError("tokens", error.errors[0].message)]) from error
        return str(_known(text, "tokens", backend))

    return JSONResponse({"prompt": await TOKENS.run(read)})


async def tokenizer_info(request: Request) -> Response:
    """GET /tokenizer_info."""
    backend = service_of(request).registry.open_backend()
    names = ("bos_token", "eos_token", "pad_token", "unk_token", "chat_template")
    found = optional.tokenizer_info(backend)
    told: dict[str, Any] = {name: found.get(name) for name in names}
    return JSONResponse(told | {"model_max_length": backend.info.context_length})


def _tokens(backend: Backend, fields: TokenizeFields) -> list[int]:
    text = fields.content if fields.prompt is None else fields.prompt
    if (text is None) == (fields.messages is None):
        raise InvalidRequest([FieldError("prompt", "exactly one of prompt and messages is needed")])
    if fields.messages is not None:
        turns = [each.model_dump(exclude_none=True) for each in turns_of(fields.messages)]
        text = optional.render(backend, turns) or plain(turns)
    assert text is not None
    if not text:
        return []
    if fields.add_special_tokens or fields.messages is not None:
        found: Sequence[int] | None = optional.tokenize(backend, text)[0]
    else:
        found = optional.tokenize_bare(backend, text)
    return list(_known(found, "prompt", backend))


def _known(value: Any, field: str, backend: Backend) -> Any:
    if value is None:
        message = f"cannot be told: {backend.info.name} does not say which tokens it has"
        raise Unsupported([FieldError(field, message)])
    return value


def _read(kind: type[Any], body: bytes, example: str) -> Any:
    data = parse_object(body, f"the body must be a JSON object such as {example}", MOST_FIELDS)
    try:
        return kind.model_validate({k: v for k, v in data.items() if v is not None})
    except ValidationError as error:
        raise InvalidRequest(in_our_words(field_errors(error), _RIGHT)) from None


_RIGHT = {
    "prompt": "must be a string",
    "content": "must be a string",
    "messages": "must be a list of 1 to 1000 messages, each with a role and a content",
    "tokens": "must be a list of token ids, which are whole numbers",
    "add_special_tokens": "must be true or false",
    "model": "must be the name of a model",
}

routes = [
    Operation(
        "POST",
        "/tokenize",
        tokenize,
        "tokenize",
        "openai",
        "The tokens of a text or a conversation",
        {200: {JSON: bodies.Tokens}},
        (404, 503),
        body=TokenizeFields,
        example={"prompt": "Once upon a time"},
    ),
    Operation(
        "POST",
        "/detokenize",
        detokenize,
        "detokenize",
        "openai",
        "The text of tokens",
        {200: {JSON: bodies.Detokenized}},
        (404, 503),
        body=DetokenizeFields,
        example={"tokens": [1, 2]},
    ),
    Operation(
        "GET",
        "/tokenizer_info",
        tokenizer_info,
        "tokenizerInfo",
        "openai",
        "Special tokens and chat template",
        {200: {JSON: bodies.TokenizerInfo}},
        (503,),
    ),
]
