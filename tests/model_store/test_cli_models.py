from __future__ import annotations

import json
from pathlib import Path

import pytest

from minivault.cli import main
from minivault.model_store import ModelStore
from tests.model_store.hub import Hub
from tests.model_store.repository import TAKEN, distilgpt2, lay_out

NAME = "distilbert/distilgpt2"


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MINIVAULT_MODELS_DIR", "MINIVAULT_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> int:
    """The exit code of a command."""
    return main(list(arguments))


def test_pull_without_a_name_downloads_distilgpt2(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, distilgpt2())
    assert run("pull") == 0
    assert "distilgpt2 is whole: 0.3 MB in" in capsys.readouterr().out
    assert set(hub.asked_for()) == TAKEN
    assert ModelStore(tmp_path / "models").check("distilgpt2") == []


def test_pull_as_json_prints_one_object_and_nothing_else(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.add("org/model", distilgpt2())
    assert run("pull", "org/model", "--json", "--models-dir", "elsewhere") == 0
    out, err = capsys.readouterr()
    model = json.loads(out)
    assert (model["name"], model["revision"]) == ("org/model", commit)
    assert model["folder"] == str(tmp_path / "elsewhere" / "org" / "model")
    assert err == ""


def test_pull_takes_a_revision_and_fails_with_exit_code_3(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = hub.add("org/model", distilgpt2())
    assert run("pull", "org/model", "--revision", commit, "--json") == 0
    assert json.loads(capsys.readouterr().out)["revision"] == commit
    assert run("pull", "org/model", "--revision", "v9") == 3
    assert "error: org/model has no such revision" in capsys.readouterr().err


def test_pull_offline_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pull", "org/model", "--offline") == 3
    assert capsys.readouterr().err == ("error: org/model is not downloaded: MiniVault is offline\n")


def test_pull_check_says_no_with_the_reason_and_exit_code_1(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, distilgpt2())
    run("pull")
    assert run("pull", "--check", "distilgpt2") == 0
    weights = tmp_path / "models" / "distilgpt2" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    capsys.readouterr()
    assert run("pull", "--check", "distilgpt2") == 1
    assert "distilgpt2 is not whole:\n  model.safetensors was changed" in capsys.readouterr().out
    assert run("pull", "--check", "distilgpt2", "--json") == 1
    assert json.loads(capsys.readouterr().out)["whole"] is False
    assert run("pull", "--check", "gpt9") == 3
    assert "there are: distilgpt2, storyteller" in capsys.readouterr().err


def test_models_lists_what_is_there_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path / "models" / "mine", distilgpt2(5000))
    lay_out(tmp_path / "models" / "half", {"config.json": b"{}"})
    assert run("models") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["name", "half", "mine", "storyteller"]
    assert lines[1].endswith("not whole")
    assert "half: no tokenizer" in lines
    assert "minivault pull" in lines[-1]


def test_models_verify_answers_no_if_one_is_not_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path / "models" / "mine", distilgpt2(5000))
    assert run("models", "--verify") == 0
    assert "verified" in capsys.readouterr().out
    lay_out(tmp_path / "models" / "half", {"config.json": b"{}"})
    assert run("models", "--verify", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(tmp_path / "models")
    assert {model["name"]: model["whole"] for model in found["models"]} == {
        "half": False,
        "mine": True,
        "storyteller": True,
    }
