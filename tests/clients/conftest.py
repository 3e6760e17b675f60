"""One server with the real chat model for all clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gguf.smollm2 import smollm2
from tests.processes import ROOT, Served, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    smollm2()
    options = ["--model", "smollm2", "--models-dir", str(ROOT / "models"), "--offline"]
    options += ["--context", "1024"]  # no answer is longer, whatever a small model rambles
    with serving(tmp_path_factory.mktemp("server"), *options, patience=3600) as served:
        yield served
