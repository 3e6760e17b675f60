"""`minivault doctor`: what costs something or breaks a promise is named with a remedy."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from minivault import cli
from minivault.bench.bandwidth import read_bandwidth
from minivault.libraries import INTERFACES
from tests.model_store.repository import STORYTELLER
from tests.processes import minivault

Findings = dict[str, list[dict[str, str]]]


def doctor(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Findings]:
    """The exit code, and the findings by their subject."""
    code = cli.main(["doctor", "--json", "--offline", *options])
    answer = json.loads(capsys.readouterr().out)
    assert answer["healthy"] == (code == 0)
    found: Findings = {}
    for each in answer["findings"]:
        found.setdefault(each["subject"], []).append(each)
    return code, found


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the memory's speed is known, and need not be measured for half a second."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("minivault.doctor.read_bandwidth", lambda threads, seconds: 2e10)


def test_a_machine_that_keeps_every_promise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivault.doctor.read_bandwidth", read_bandwidth)
    code, found = doctor(capsys, "--model", "storyteller")
    assert code == 0
    assert {each["verdict"] for all in found.values() for each in all} <= {"good", "costs"}
    assert set(found) == {
        *(
            "versions",
            "settings",
            "processor",
            "memory",
            "system",
            "files",
            "model",
            "engine",
            "hub",
        ),
        *("models", "logs", "clock"),
    }
    assert "storyteller is whole" in found["model"][0]["text"]
    assert "dtype" in found["engine"][0]["text"]
    assert sys.platform != "linux" or "of its weights in large pages" in found["engine"][0]["text"]


def test_what_the_system_lacks_costs_something(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("socket.TCP_USER_TIMEOUT")  # as on macOS
    monkeypatch.setattr("minivault.system._LARGE_PAGES", Path("/nowhere"))
    monkeypatch.setattr("minivault.system.ctypes.CDLL", lambda name: object())  # as with musl
    _, found = doctor(capsys, "--backend", "echo")
    told = " ".join(each["text"] for each in found["system"])
    assert {each["verdict"] for each in found["system"]} == {"costs"}
    assert "a reader that vanishes without a word" in told
    assert "small pages" in told
    assert "stays with the process" in told


def test_the_default_model_that_is_missing_costs_something(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = doctor(capsys)
    assert code == 0
    assert (found["model"][0]["verdict"], found["model"][0]["remedy"]) == (
        "costs",
        "minivault pull distilgpt2",
    )


def test_a_damaged_model_is_a_broken_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(STORYTELLER, tmp_path / "copy")
    weights = bytearray((tmp_path / "copy" / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "copy" / "model.safetensors").write_bytes(weights)
    code, found = doctor(capsys, "--model", "./copy")
    assert code == 1
    assert found["model"][0]["verdict"] == "broken"


def test_a_model_that_does_not_exist_ends_no_other_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = doctor(capsys, "--model", "nowhere")
    assert code == 1
    assert "no model 'nowhere'" in found["model"][0]["text"]
    assert found["clock"][0]["verdict"] == "good"


def test_a_library_that_changed_is_a_broken_promise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INTERFACES, "uvicorn", ("uvicorn:Server.of_yesterday",))
    code, found = doctor(capsys, "--model", "storyteller")
    assert code == 1
    assert found["versions"][0]["text"] == "uvicorn has no uvicorn:Server.of_yesterday"


def test_what_others_may_read_is_named_with_the_command_that_mends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "secret").write_bytes(b"x" * 32)
    (tmp_path / "logs" / "secret").chmod(0o644)
    (tmp_path / "logs" / "log.jsonl.md").write_text("what we look for in our log")  # no log
    code, found = doctor(capsys, "--model", "storyteller")
    assert code == 1
    [open_file] = [each for each in found["logs"] if each["verdict"] == "broken"]
    assert open_file["remedy"] == f"chmod go= {Path('logs/secret')}"


def test_a_log_folder_that_a_server_refuses_is_a_broken_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o777)
    code, found = doctor(capsys, "--backend", "echo")
    assert code == 1
    assert "others may write to it; chmod go-w" in found["folders"][0]["text"]


def test_what_a_start_would_warn_of_is_here_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIVAULT_MAX_RUNING", "3")
    monkeypatch.setattr("minivault.open_files.connection_limit", lambda _: 960)
    monkeypatch.setattr("minivault.engine.native.memory.LargePages.share", lambda _: 0.42)
    monkeypatch.setattr("minivault.engine.native.runner.has_large_pages", lambda: True)
    code, found = doctor(capsys, "--model", "storyteller", "--kv-memory", "64KiB")
    assert code == 0
    said = {
        each["text"].partition(":")[0]
        for subject in ("settings", "files", "engine")
        for each in found[subject]
        if each["verdict"] == "costs"
    }
    assert "MINIVAULT_MAX_RUNING is not a setting of MiniVault" in said
    assert "960 connections fit where 4096 are meant to" in said
    [pages] = [each["text"] for each in found["engine"] if "42% of the weights" in each["text"]]
    assert "vm.compact_memory" in pages
    [memory] = [each["text"] for each in found["engine"] if "--kv-memory" in each["text"]]
    assert "this model's context of 512" in memory


def test_a_clock_behind_the_log_is_a_broken_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").mkdir()
    record = {"timestamp": "2999-01-01T00:00:00.000Z", "seq": 1, "prev": "0" * 64}
    (tmp_path / "logs" / "log.jsonl").write_text(
        json.dumps(record, separators=(",", ":")) + "\n", encoding="ascii"
    )
    os.chmod(tmp_path / "logs" / "log.jsonl", 0o600)
    code, found = doctor(capsys, "--model", "storyteller")
    assert (code, found["clock"][0]["verdict"]) == (1, "broken")


@pytest.mark.slow
def test_without_a_compiler_the_slower_way_is_told(tmp_path: Path) -> None:
    ended = minivault("doctor", "--offline", "--model", "storyteller", cwd=tmp_path, CC="/no/cc")
    assert any(
        line.startswith("costs") and "CC=/no/cc" in line for line in ended.stdout.splitlines()
    ), ended.stdout
