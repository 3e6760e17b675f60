"""What MiniVault puts right in the configuration that Ray Serve writes for HAProxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path

import pytest

from minivault.cluster import haproxy
from minivault.cluster.haproxy import BINARY, ID_PLACE, Unknown, binary, hardened, place_of
from minivault.generations import GenerationIds

#: The places that matter, as Ray 2.60 writes them.
WRITTEN = """\
global
    log /dev/null local0 info
    stats socket /tmp/haproxy-serve/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout client 3600s
    timeout http-request 60s
    errorfile 502 /tmp/haproxy-serve/500.http
    errorfile 503 /tmp/haproxy-serve/500.http
    balance leastconn
frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
    log global
backend minivault
    server SERVE_REPLICA_minivault-MiniVault-kj2h8s0a 127.0.0.1:30000 check
    server SERVE_PROXY_ACTOR-fallback-05bd 127.0.0.1:8500 check backup
listen stats
  bind *:8404
  stats enable
"""

PLACE = place_of("kj2h8s0a")


def test_what_is_not_for_everybody_is_on_loopback_alone() -> None:
    changed = hardened(WRITTEN)
    assert "    bind 127.0.0.1:9101\n" in changed
    assert "  bind 127.0.0.1:8404\n" in changed
    assert "admin.sock mode 600 level admin" in changed
    assert "    bind 127.0.0.1:8000\n" in changed


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])
def test_the_front_alone_has_the_doors_address(host: str) -> None:
    changed = hardened(WRITTEN, host)
    assert f"frontend http_frontend\n    bind {host}:8000\n    http-request" in changed
    assert changed == hardened(WRITTEN).replace("bind 127.0.0.1:8000", f"bind {host}:8000")


def test_what_failed_at_one_replica_is_tried_at_another() -> None:
    changed = hardened(WRITTEN)
    assert "    balance hash var(txn.name)\n    hash-type consistent sdbm avalanche\n" in changed


def test_a_replica_gets_what_asks_for_its_texts() -> None:
    lines = hardened(WRITTEN).splitlines()
    name = "SERVE_REPLICA_minivault-MiniVault-kj2h8s0a"
    rules = [line.split(" if ") for line in lines if "use-server" in line]
    assert rules == [[f"    use-server {name}", f"{{ var(txn.place) -m str {PLACE} }}"]]
    assert lines[lines.index(f"    server {name} 127.0.0.1:30000 check") + 1] == " if ".join(*rules)
    ids = GenerationIds(b"s" * 32)
    ids.place = urlsafe_b64decode(PLACE)
    made = {ids.make(1, b"request.", b"engine..") for _ in range(100)}
    assert len(made) == 100
    assert {id[ID_PLACE.start : ID_PLACE.stop] for id in made} == {PLACE}
    assert all(ids.read(id) for id in made)


def test_a_request_has_a_deadline_and_steers_nobody() -> None:
    changed = hardened(WRITTEN)
    assert changed.count("timeout http-request") == 1
    assert "defaults\n    timeout http-request 10000ms\n" in changed
    _, _, frontend = changed.partition("frontend http_frontend\n    bind 127.0.0.1:8000\n")
    rules = frontend.splitlines()[:5]
    assert rules == [
        "    http-request del-header x-request-timeout-seconds",
        "    http-request del-header x-request-disconnect-disabled",
        "    http-request del-header x-forwarded-proto",
        "    http-request set-header x-forwarded-for %[src]",
        "    http-request disable-l7-retry if METH_POST",
    ]


def test_what_haproxy_answers_itself_is_a_problem_with_its_own_status() -> None:
    changed = hardened(WRITTEN)
    assert "errorfile" not in changed
    for status in (502, 503):
        [line] = (each for each in changed.splitlines() if f"http-error status {status} " in each)
        told = json.loads(line.partition(" string '")[2].removesuffix("'"))
        assert told["status"] == status
        assert "no replica" in told["detail"]
        assert " hdr Retry-After 1 " in line


def test_what_is_right_stays_as_it_is() -> None:
    assert hardened(hardened(WRITTEN)) == hardened(WRITTEN)


@pytest.mark.parametrize(
    "gone, what",
    [
        ("frontend prometheus", "metrics"),
        ("listen stats", "statistics"),
        ("mode 666", "admin socket"),
        ("frontend http_frontend", "frontend"),
        ("defaults", "defaults"),
        ("balance leastconn", "balance"),
    ],
)
def test_a_configuration_of_another_make_is_refused(gone: str, what: str) -> None:
    with pytest.raises(Unknown, match=f"0 places for its {what}"):
        hardened(WRITTEN.replace(gone, "something else"))


def test_the_haproxy_that_was_named_is_the_one_that_is_run(tmp_path: Path) -> None:
    """Run as Ray Serve runs it: a program with a file and further arguments."""
    named, written = tmp_path / "named", tmp_path / "haproxy.cfg"
    named.write_text('#!/bin/sh\necho "$@"\n')
    named.chmod(0o700)
    written.write_text(WRITTEN)
    command = [sys.executable, haproxy.__file__, "-db", "-f", str(written), "-sf", "1"]
    environment = {**os.environ, BINARY: str(named)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == f"-db -f {written} -sf 1\n"
    assert written.read_text() == hardened(WRITTEN)


def test_a_name_that_is_no_program_is_no_haproxy() -> None:
    assert binary({BINARY: "/nowhere/haproxy", "PATH": os.environ["PATH"]}) is None
