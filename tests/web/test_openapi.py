"""The description of the API says what the application does, and its examples hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from minivault.app import routes
from minivault.parsing import parse_body
from minivault.schemas import GenerateRequest
from minivault.web.keys import Keyring
from minivault.web.openai.misplaced import Signpost
from minivault.web.openapi import EVENTS, STREAM, TAGS, description, query_parameters
from minivault.web.operations import Operation
from tests.web.guarded import COOKIES, Guarded

FILES = {
    "/favicon.ico",
    "/manifest.webmanifest",
    "/static/check.html",
}  # of no interest to a program


ROUTES = [each for each in routes(Keyring(secret=b"")) if isinstance(each, Route)]
OPERATIONS = [route for route in ROUTES if isinstance(route, Operation)]
DOCUMENT = description(ROUTES, COOKIES)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_route_is_described_with_its_methods_and_no_other() -> None:
    served = {
        (method.lower(), route.path)
        for route in ROUTES
        for method in (route.methods or set()) - {"HEAD"}
        if route.path not in FILES and not isinstance(route, Signpost)
        if not route.path.startswith("/static/")
    }
    described = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == served


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.id)
def test_what_the_guards_refuse_is_described(operation: Operation) -> None:
    """Who is turned away when another site's page asks, and who without a key?"""
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    path = operation.path.replace("{id}", "x").replace("{seq}", "1")
    asks = Guarded(api_key=["k"], log_key=["l"]).client().request
    foreign = asks(operation.method, path, headers={"Sec-Fetch-Site": "cross-site"})
    assert ("403" in described) == (foreign.status_code == 403)
    keyless = asks(operation.method, path)
    assert ("401" in described) == (keyless.status_code == 401) or operation.id == "login"


def test_it_is_openapi_3_1_and_every_reference_leads_somewhere() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    schemas = DOCUMENT["components"]["schemas"]
    found = set(references(DOCUMENT))
    assert found
    assert {each.rpartition("/")[2] for each in found} <= set(schemas)
    json.dumps(DOCUMENT, allow_nan=False)


def test_every_operation_has_a_name_of_its_own_and_a_known_tag() -> None:
    names = [operation.id for operation in OPERATIONS]
    assert len(names) == len(set(names))
    assert {operation.tag for operation in OPERATIONS} == set(TAGS)


def test_the_parameters_of_get_are_the_fields_of_the_request() -> None:
    parameters = {each["name"]: each for each in query_parameters(GenerateRequest)}
    assert set(parameters) == set(GenerateRequest.model_fields) - {"messages"}
    assert parameters["prompt"]["required"]
    assert parameters["prompt"]["schema"]["minLength"] == 1
    assert parameters["temperature"]["schema"] == {
        "default": 0.8,
        "minimum": 0,
        "maximum": 2,
        "type": "number",
    }
    assert parameters["stop"]["schema"]["type"] == "array"
    assert parameters["seed"]["schema"]["maximum"] == 2**53 - 1
    assert "default" not in parameters["seed"]["schema"]
    assert not list(references(list(parameters.values())))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.id)
def test_path_parameters_are_described(operation: Any) -> None:
    named = {each.name for each in operation.parameters if each.place == "path"}
    assert named == {part[1:-1] for part in operation.path.split("/") if part.startswith("{")}


def test_the_example_body_is_a_request() -> None:
    content = DOCUMENT["paths"]["/generate"]["post"]["requestBody"]["content"]
    assert parse_body(json.dumps(content["application/json"]["example"]).encode()).prompt


def test_the_example_stream_is_what_the_models_say() -> None:
    blocks = [block.split("\n") for block in STREAM.strip().split("\n\n")]
    fields = [dict(line.split(": ", 1) for line in block) for block in blocks]
    assert fields[0] == {"retry": "1000"}
    seen = []
    for event in fields[1:]:
        name = event.get("event", "message")
        EVENTS[name].model_validate_json(event["data"])
        seen.append(name)
    assert seen == ["start", "message", "message", "done"]
    assert [event["id"].rpartition(".")[2] for event in fields[1:]] == ["0", "1", "2", "3"]


def test_errors_are_described_as_problems_and_503_with_its_header() -> None:
    responses = DOCUMENT["paths"]["/generate"]["post"]["responses"]
    for status in ("400", "401", "403", "413", "415", "422", "500", "503"):
        assert "application/problem+json" in responses[status]["content"]
    assert "Retry-After" in responses["503"]["headers"]
