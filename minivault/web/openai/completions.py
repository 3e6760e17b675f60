"""The routes of /v1/chat/completions and /v1/completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from minivault.backends.base import ModelInfo
from minivault.background import in_thread
from minivault.errors import FieldError, Unsupported
from minivault.parsing import parse_object
from minivault.web.carried import service_of
from minivault.web.openai import bodies, chat, completion
from minivault.web.openai.answering import WholeAnswer, stream
from minivault.web.openai.asked import Asked, check_model
from minivault.web.openai.following import last_of, rest
from minivault.web.openai.parts import answers_of
from minivault.web.openai.starting import start
from minivault.web.openai.telling import Told
from minivault.web.operations import JSON, STREAM, Answers, Operation, Parameter

LARGE = 2**14  # bytes of a body that is not read in the loop
MOST_FIELDS = 1024  # of one object in a body: a bias has many

Read = Callable[[Mapping[str, Any], ModelInfo, int, str | None], tuple[Any, Asked]]


async def complete_chat(request: Request) -> Response:
    """POST /v1/chat/completions."""
    service = service_of(request)
    if not service.info.chat and not service.settings.plain_chat:
        message = f"{service.info.name} has no chat template; use /v1/completions with a prompt"
        raise Unsupported([FieldError("messages", message)])
    return await _complete(request, chat.read_chat, chat.EXAMPLE)


async def complete(request: Request) -> Response:
    """POST /v1/completions."""
    return await _complete(request, completion.read_completion, completion.EXAMPLE)


async def _complete(request: Request, read: Read, example: str) -> Response:
    """`stream` in the body alone decides: clients ask for JSON in Accept either way."""
    service = service_of(request)
    body = await request.body()
    key = request.headers.get("idempotency-key")

    def asked_for() -> Asked:
        data = parse_object(body, f"the body must be a JSON object such as {example}", MOST_FIELDS)
        fields, asked = read(data, service.info, service.settings.max_choices, key)
        check_model(fields.model, service.info, service.settings.model_alias)
        return asked

    asked = await in_thread(asked_for) if len(body) > LARGE else asked_for()
    if last := last_of(request):
        return await rest(request, last.generation, last.n or 0, asked.choices[0])
    followers = await start(request, asked)
    answers = await answers_of(followers)
    told = Told(followers, asked.wants_usage, asked.echo, answers=answers)
    return stream(told) if asked.stream else WholeAnswer(told)


_REFUSED = (404, 503)
_DETAILS = """\
As OpenAI's route of this name, with what docs/openai.md tells of it. `stream` in the body alone
decides whether chunks come or one object.
"""


def _answers(model: type[bodies.ChatCompletion] | type[bodies.TextCompletion]) -> Answers:
    return {200: {JSON: model, STREAM: bodies.ChunkOfStream}}


_KEY = Parameter(
    "Idempotency-Key",
    "header",
    "The client's own name for this request: the same key never starts it twice.",
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$"},
)

routes = [
    Operation(
        "POST",
        "/v1/chat/completions",
        complete_chat,
        "createChatCompletion",
        "openai",
        "Answer a conversation",
        _answers(bodies.ChatCompletion),
        _REFUSED,
        _DETAILS,
        parameters=(_KEY,),
        body=chat.ChatFields,
        example={"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40},
    ),
    Operation(
        "POST",
        "/v1/completions",
        complete,
        "createCompletion",
        "openai",
        "Continue texts",
        _answers(bodies.TextCompletion),
        _REFUSED,
        _DETAILS,
        parameters=(_KEY,),
        body=completion.CompletionFields,
        example={"prompt": "Once upon a time", "max_tokens": 40},
    ),
]
