"""Requests made up from the API's description, valid and not, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from minivault.app import routes
from minivault.web.keys import Keyring
from minivault.web.openapi import description
from tests.live import live_server
from tests.web.guarded import COOKIES

FORMS = ["text/event-stream", "application/json", "text/plain", "*/*"]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 16  # for each operation, half of them valid
API = schemathesis.openapi.from_dict(description(routes(Keyring(secret=b"")), COOKIES))
OPERATIONS: list[Any] = [cast(Any, each).ok() for each in API.get_all_operations()]
CASES = [
    pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
    for operation in OPERATIONS
    for mode in GenerationMode
    # What takes nothing cannot be asked wrongly.
    if mode is GenerationMode.POSITIVE or operation.body or list(operation.iter_parameters())
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live_server(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.mark.parametrize("operation, mode", CASES)
def test_every_answer_is_one_that_is_described(
    operation: Any, mode: GenerationMode, address: str
) -> None:
    @settings(
        max_examples=EXAMPLES // 2,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), form=st.sampled_from(FORMS))
    def ask(case: Any, form: str) -> None:
        case.headers = {**(case.headers or {}), "Accept": form}
        case.call_and_validate(base_url=address, checks=CHECKS)

    ask()
