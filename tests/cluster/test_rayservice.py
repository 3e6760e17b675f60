"""The RayService of deploy/ tells Serve and Ray what `minivault cluster config` does."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import yaml

from minivault.cluster.fleet import Fleet, environment
from minivault.cluster.serve_config import serve_config

FILE = Path(__file__).parents[2] / "deploy" / "rayservice.yaml"
FLEET = Fleet(replicas=2, most=50, longest_stream=300)


def service() -> dict[str, Any]:
    found: dict[str, Any] = next(iter(yaml.safe_load_all(FILE.read_text(encoding="utf-8"))))
    return found


def test_serves_part_is_what_is_printed(tmp_path: Path, monkeypatch: Any) -> None:
    ours = yaml.safe_load(service()["spec"]["serveConfigV2"])
    given = ours["applications"][0]["args"]
    keys = {"api_key": ["@api"], "log_key": ["@log"]}
    monkeypatch.chdir(tmp_path)
    for name in ("api", "log"):
        Path(name).write_text(secrets.token_hex(24))
    printed = yaml.safe_load(serve_config({**given, **keys}, FLEET))
    printed["applications"][0]["args"] |= {name: given[name] for name in keys}
    assert ours == printed


def test_every_pod_has_the_variables_and_the_time_that_the_fleet_needs() -> None:
    spec = service()["spec"]
    cluster = spec["rayClusterConfig"]
    binary = "/opt/minivault/bin/minivault-haproxy"
    wanted = {**environment(FLEET), "RAY_SERVE_HAPROXY_BINARY_PATH": binary}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert {each["name"]: each["value"] for each in container["env"]} == wanted
        assert pod["terminationGracePeriodSeconds"] > FLEET.longest_stream
    assert spec["rayClusterDeletionDelaySeconds"] > FLEET.longest_stream
    assert cluster["authOptions"] == {"mode": "token"}
