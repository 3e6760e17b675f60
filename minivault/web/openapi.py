"""The OpenAPI 3.1 description, made from the operations and the pydantic models they name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from minivault import __version__
from minivault.schemas import GenerateRequest, Problem
from minivault.web import answers
from minivault.web.middleware.cross_site import is_harmless
from minivault.web.middleware.keys import needs_key
from minivault.web.middleware.paths import is_openai
from minivault.web.openai.bodies import ErrorEnvelope
from minivault.web.operations import Operation
from minivault.web.problems import MEDIA_TYPE as PROBLEM

REF = "#/components/schemas/{model}"

TAGS = {
    "generations": "Start, follow, resume and stop.",
    "openai": "As OpenAI's routes of the same names; errors are OpenAI's as well.",
    "log": "What was asked and said: search, verify, replay.",
    "server": "What serves, and how it fares.",
    "pages": "For people.",
}

EVENTS: Mapping[str, type[BaseModel]] = {
    "start": answers.StartEvent,
    "message": answers.PieceEvent,
    "queued": answers.QueuedEvent,
    "done": answers.DoneEvent,
    "stopped": answers.StoppedEvent,
    "failed": answers.FailedEvent,
    "gone": answers.GoneEvent,
}

# Two programs never disagree about an example that a test reads with the models.
STREAM = """\
retry: 1000

id: AQx7.0
event: start
data: {"id":"AQx7","model":"distilgpt2","seed":123,"prompt_tokens":2,"params":{"max_tokens":2,\
"max_tokens_requested":2,"temperature":0.8,"top_k":50,"top_p":0.95,"repetition_penalty":1.1,\
"stop":[],"top_logprobs":0}}

id: AQx7.1
data: {"text":" there"}

id: AQx7.2
data: {"text":","}

id: AQx7.3
event: done
data: {"finish_reason":"length","usage":{"prompt_tokens":2,"completion_tokens":2},\
"timings":{"queue_ms":0.4,"first_token_ms":31.0,"total_ms":52.7,"tokens_per_second":46.1},\
"receipt":{"seq":17,"hash":"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}}

"""

STATUS_MEANINGS = {
    400: "The request cannot be read, or Host is not a name of this server.",
    401: "A key is missing or wrong.",
    403: "Another site's page caused this, or an address with an effect was typed in.",
    404: "There is no such thing.",
    413: "The body is over 256 KiB.",
    415: "A browser sent something that is not application/json, or the body is compressed.",
    422: "A field is wrong; `errors` names it.",
    429: "Wrong keys came from this address: `Retry-After` says when the next is looked at.",
    500: "It went wrong in here.",
    503: "Not now: `Retry-After` says in how many seconds to come again.",
}

ABOUT = """\
Text from a locally cached language model, streamed as it is made, and a record of all of it.

`Accept` chooses the form of a generation: `text/event-stream`, `application/json`, or plain text
where neither is named. Errors are `application/problem+json` (RFC 9457). Answers carry an
`X-Request-Id`; a well-formed one that came with the request is taken over.
"""


def description(routes: Iterable[BaseRoute], cookies: Mapping[str, str]) -> dict[str, Any]:
    """The whole document, without `servers`: where it is served from is the route's knowledge.

    It tells of those routes that are operations.

    `cookies`: the names of the cookies for the API and for the log, by `cookie` and `log_cookie`.
    """
    paths: dict[str, dict[str, Any]] = {}
    operations = [route for route in routes if isinstance(route, Operation)]
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "MiniVault",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{}, {"bearer": []}, {"cookie": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(_models(operations)),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                **{
                    scheme: {"type": "apiKey", "in": "cookie", "name": name}
                    for scheme, name in cookies.items()
                },
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if operation.details:
        described["description"] = operation.details
    parameters = query_parameters(operation.query) if operation.query else []
    parameters += [
        {
            "name": each.name,
            "in": each.place,
            "required": each.place == "path",
            "description": each.help,
            "schema": dict(each.schema),
        }
        for each in operation.parameters
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        content = {"schema": _ref(operation.body), "example": operation.example}
        described["requestBody"] = {"required": True, "content": {operation.body_type: content}}
    if operation.tag == "log":
        described["security"] = [{}, {"bearer": []}, {"log_cookie": []}]
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    refused = _refusal if is_openai(operation.path) else _problem
    responses = {str(status): refused(status) for status in _problems(operation)}
    for status, forms in operation.answers.items():
        content = {media: _content(media, model) for media, model in forms.items()}
        known = responses.get(str(status), {"description": HTTPStatus(status).phrase})
        both = {**content, **known.get("content", {})}
        responses[str(status)] = {**known, **({"content": both} if both else {})}
    return dict(sorted(responses.items()))


def _problems(operation: Operation) -> set[int]:
    """Its own, those of the guards before it, and what nobody foresaw."""
    found = {400, 500, *operation.problems}
    if not is_openai(operation.path):
        found.add(422)
    if needs_key(operation.path):
        found |= {401, 429}
    if not is_harmless(operation.path, operation.method):
        found.add(403)
    if operation.method == "POST":
        found |= {413, 415}
    return found


def _content(media: str, model: type[BaseModel] | None) -> dict[str, Any]:
    if media == "text/event-stream":
        ours = {"schema": {"$ref": REF.format(model="Event")}, "example": STREAM}
        return {"schema": _block(model)} if model else ours
    if model:
        return {"schema": _ref(model)}
    return {"schema": {"type": "object" if media == "application/json" else "string"}}


def _event(name: str, model: type[BaseModel]) -> dict[str, Any]:
    """An event as a client dispatches it; OpenAPI 3.1 describes a stream by its events."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": _ref(model)}
    return {
        "title": name,
        "type": "object",
        "properties": {"id": {"type": "string"}, "event": {"const": name}, "data": data},
        "required": ["event", "data"],
    }


def _block(model: type[BaseModel]) -> dict[str, Any]:
    """A block of a stream under /v1, of which the last says [DONE]."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": _ref(model)}
    return {
        "type": "object",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, data]}},
        "required": ["data"],
    }


def _problem(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": STATUS_MEANINGS[status],
        "content": {PROBLEM: {"schema": _ref(Problem)}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        seconds = {"description": "Seconds.", "schema": {"type": "integer"}}
        response["headers"] = {"Retry-After": seconds}
    return response


def _refusal(status: int) -> dict[str, Any]:
    """The same under /v1, where errors are OpenAI's."""
    described = _problem(status)
    described["content"] = {"application/json": {"schema": _ref(ErrorEnvelope)}}
    return described


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of a model as query parameters; what does not fit into a query is left out."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    fields = {name: _plain(field, definitions) for name, field in schema["properties"].items()}
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": name == "prompt",
            "description": field.pop("description", ""),
            "schema": field,
        }
        for name, field in fields.items()
        if name != "messages"
    ]
    return sorted(parameters, key=lambda parameter: not parameter["required"])


def _plain(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema without its null (a query leaves it out) and without references."""
    choices = [each for each in field.get("anyOf", []) if each.get("type") != "null"]
    flat = {name: value for name, value in field.items() if name not in ("anyOf", "title")}
    for choice in choices:
        name = choice.get("$ref", "").rpartition("/")[2]
        flat |= definitions[name] if name else choice
    if flat.get("default", ...) is None:
        del flat["default"]
    return flat


def _models(operations: Sequence[Operation]) -> frozenset[type[BaseModel]]:
    models: set[type[BaseModel]] = {GenerateRequest, Problem, ErrorEnvelope, *EVENTS.values()}
    for operation in operations:
        models |= {each for forms in operation.answers.values() for each in forms.values() if each}
        models |= {operation.body} if operation.body else set()
    return frozenset(models)


@cache
def _schemas(models: frozenset[type[BaseModel]]) -> dict[str, Any]:
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schema = models_json_schema([(model, "validation") for model in ordered], ref_template=REF)
    schemas: dict[str, Any] = schema["$defs"]
    schemas["Event"] = {
        "description": "One event of a stream.",
        "oneOf": [_event(name, model) for name, model in EVENTS.items()],
    }
    # As the model's validator has it: exactly one of these is given.
    schemas["GenerateRequest"]["oneOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}}
        for name in ("prompt", "messages")
    ]
    return schemas


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}
