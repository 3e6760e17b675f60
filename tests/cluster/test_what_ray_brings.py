"""What is written for Ray and HAProxy, read by those that `minivault[cluster]` brings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from minivault.cluster.haproxy import binary, hardened
from tests.cluster.test_haproxy import WRITTEN
from tests.cluster.test_rayservice import service

pytestmark = pytest.mark.cluster


def test_haproxy_takes_the_whole_configuration(tmp_path: Path) -> None:
    path = tmp_path / "haproxy.cfg"
    path.write_text(hardened(WRITTEN.replace("/tmp/haproxy-serve", str(tmp_path)), "0.0.0.0"))
    command = [str(binary(os.environ)), "-c", "-f", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.filterwarnings("ignore")  # Ray's own, when it is imported
def test_serve_reads_its_part_of_the_rayservice() -> None:
    from ray.serve.schema import ServeDeploySchema

    read = ServeDeploySchema.model_validate(yaml.safe_load(service()["spec"]["serveConfigV2"]))
    assert read.applications[0].import_path == "minivault.cluster.replica:build"
