"""One server for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.live import LiveServer, live_server
from tests.web.openai.stage import Actor


@pytest.fixture(scope="module")
def actor() -> Actor:
    return Actor()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, actor: Actor) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    options: dict[str, Any] = {
        "model_alias": ["gpt-4o"],
        "max_choices": 8,
        "allowed_host": ["127.0.0.1"],
    }
    with live_server(folder, actor, **options) as live:
        yield live
