"""Errors as OpenAI's clients read them: one object, whose message alone tells what is right."""

from __future__ import annotations

from typing import Any

from minivault.errors import (
    BackendFailed,
    InvalidRequest,
    MiniVaultError,
    PromptTooLong,
    Unauthorized,
    Unavailable,
    UnknownModel,
    Unsupported,
)

_TYPES = {401: "invalid_request_error", 403: "permission_error", 429: "rate_limit_error"}

_CODES: dict[type[MiniVaultError], str] = {
    PromptTooLong: "context_length_exceeded",
    Unsupported: "unsupported",
    UnknownModel: "model_not_found",
    Unauthorized: "invalid_api_key",
    BackendFailed: "generation_failed",
}


def envelope(error: MiniVaultError) -> dict[str, Any]:
    """The body of an error's answer, and of the last block of a stream that fails."""
    status = status_of(error)
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    if isinstance(error, Unavailable):
        code = error.reason
    param = "model" if isinstance(error, UnknownModel) else None
    if isinstance(error, InvalidRequest) and error.errors:
        param = error.errors[0].field
    return wrapped(
        _message(error),
        type="server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error"),
        param=param,
        code=code,
    )


def wrapped(
    message: str,
    *,
    type: str = "invalid_request_error",
    param: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """All four fields, always."""
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


def status_of(error: MiniVaultError) -> int:
    """Frameworks look for 400 where a field is wrong; 422 is another exception to them."""
    return 400 if isinstance(error, InvalidRequest) else error.status


def headers_of(error: MiniVaultError) -> dict[str, str]:
    """What keeps clients from running a failed generation, and recording it, three times."""
    return {"x-should-retry": "false"} if status_of(error) == 500 else {}


def _message(error: MiniVaultError) -> str:
    """Some frameworks know a prompt that is too long by these words alone."""
    if isinstance(error, PromptTooLong):
        return (
            f"This model's maximum context length is {error.context} tokens, and the prompt is too "
            f"long: it has {error.tokens} tokens; {error.context - 1} fit and leave room for one "
            "more. Please shorten it."
        )
    return error.detail
