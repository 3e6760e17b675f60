"""One server for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import LiveServer, live_server
from tests.web.openai.stage import Actor


@pytest.fixture(scope="module")
def actor() -> Actor:
    return Actor()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, actor: Actor) -> Iterator[LiveServer]:
    folder = tmp_path_factory.mktemp("server")
    with live_server(folder, actor, model_alias=["gpt-4o"], max_choices=8) as live:
        yield live
