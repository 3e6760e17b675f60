"""A library that changed is named or refused; nothing goes on slower without a word."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from minivault import cli
from minivault.backends.echo import EchoBackend
from minivault.errors import CannotStart
from minivault.libraries import INTERFACES, lacking, libraries, require, untested
from minivault.service import Service
from minivault.settings import Settings
from tests.processes import environment, minivault

EACH = [(package, interface) for package, all in INTERFACES.items() for interface in all]


@pytest.mark.parametrize("package", INTERFACES)
def test_the_installed_version_has_what_is_used_of_it(package: str) -> None:
    assert list(lacking(package)) == []


@pytest.mark.parametrize("package, interface", EACH)
def test_a_name_that_is_gone_is_missed(
    package: str, interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, path = interface.partition(":")
    name = path.split("(")[0]
    monkeypatch.setitem(
        INTERFACES, package, (interface.replace(f":{name}", f":{name}_of_yesterday", 1),)
    )
    assert importlib.import_module(module)
    with pytest.raises(CannotStart, match=f"{package} .* has no .*of_yesterday.*pip install"):
        require(package)


@pytest.mark.parametrize("package, interface", [each for each in EACH if each[1].endswith(")")])
def test_a_parameter_that_is_renamed_is_missed(
    package: str, interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INTERFACES, package, (f"{interface[:-1]}, renamed)",))
    opaque = {"uvicorn:Server.handle_exit"}  # sse-starlette puts a catch-all there
    if interface.split("(")[0] not in opaque:
        assert list(lacking(package)) == [f"{interface[:-1]}, renamed)"]


#: What a release could take away, and the command that builds on it.
GONE = {
    "uvicorn": ("from uvicorn import Server as it; del it.handle_exit", "serve"),
    "sse-starlette": (
        "from sse_starlette import EventSourceResponse as it; del it._send_with_timeout",
        "serve",
    ),
    "starlette": (
        "from starlette.templating import Jinja2Templates as it; del it.TemplateResponse",
        "serve",
    ),
    "huggingface-hub": (
        "import huggingface_hub as it; from huggingface_hub import HfApi; "
        "HfApi.model_info = lambda self, repo_id: None",
        "pull distilgpt2",
    ),
    "torch": (
        "import torch; del torch.cpu.get_capabilities",
        "generate --model storyteller --runner transformers --max-tokens 2 Once",
    ),
    "tokenizers": (
        "from tokenizers import Tokenizer as it; del it.from_file",
        "generate --model storyteller --max-tokens 2 Once",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("package", GONE)
def test_a_start_on_a_changed_library_is_refused_in_one_line(package: str, tmp_path: Path) -> None:
    change, command = GONE[package]
    (tmp_path / "sitecustomize.py").write_text(change, encoding="utf-8")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    words = command.split()
    backend = ["--backend", "echo", "--port", "0"] if words[0] == "serve" else []
    ended = minivault(*words, *backend, cwd=tmp_path, PYTHONPATH=path)
    assert ended.returncode == 3, ended.stderr
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"error: {package} {metadata.version(package)} has no ")
    assert "pip install" in line


def test_what_is_installed_lies_in_the_tested_range() -> None:
    assert len(libraries()) > 10
    assert untested() == []


@pytest.fixture
def newer_transformers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    installed = metadata.version

    def version(name: str) -> str:
        return "99.0" if name == "transformers" else installed(name)

    monkeypatch.setattr(metadata, "version", version)
    libraries.cache_clear()
    yield
    libraries.cache_clear()


@pytest.mark.usefixtures("newer_transformers")
def test_version_names_a_library_outside_the_tested_range(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["version", "--json"]) == 0
    [name] = json.loads(capsys.readouterr().out)["untested"]
    assert name == "transformers"
    assert cli.main(["version"]) == 0
    [line] = [each for each in capsys.readouterr().out.splitlines() if "outside" in each]
    assert line.startswith("transformers       99.0  outside what was tested: ")


@pytest.mark.usefixtures("newer_transformers")
def test_a_start_tells_of_a_library_outside_the_tested_range(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service.opened(Settings(logs_dir=tmp_path / "logs"), EchoBackend())
    service.vault.close()
    [warning] = service.stage.warnings
    assert warning.startswith("MiniVault was not tested with transformers 99.0 (tested: ")
    assert warning in caplog.text
