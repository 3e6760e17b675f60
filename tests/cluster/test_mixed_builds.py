"""Replicas whose kernels were compiled for different processors make the same bytes."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests.cluster.event_source import EventSource, read_all, until
from tests.cluster.fleets import fleet
from tests.processes import ROOT, serving
from tests.tools import leave_out, tool

pytestmark = pytest.mark.cluster

PROMPT = "The lighthouse stood at the end of the pier, and"

#: A compiler that works for this processor for the first who asks, for an older one for all others.
COMPILER = """\
#!/bin/sh
mkdir -p {folder}/asked
mode={folder}/asked/$PPID
[ -e "$mode" ] || { mkdir {folder}/first 2>/dev/null && echo native || echo older; } > "$mode"
if [ "$(cat "$mode")" = native ]; then
    [ "$1" = --version ] && echo native
    exec {cc} "$@"
fi
[ "$1" = --version ] && { echo older; exec {cc} --version; }
exec {cc} "$@" -march=x86-64-v3
"""


def kernels(pid: int) -> str:
    """The library that a process computes with."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    found = set(re.findall(r"kernels-\w+-\w+\.so", maps))
    assert len(found) == 1
    return str(*found)


def test_a_text_goes_on_at_a_replica_of_another_build(tmp_path: Path) -> None:
    if not (ROOT / "models" / "smollm2" / "minivault.json").exists():
        leave_out("there is no chat model (make chat-model)")
    compiler = tmp_path / "compiler"
    script = COMPILER.replace("{folder}", str(tmp_path)).replace("{cc}", tool("cc"))
    compiler.write_text(script)
    compiler.chmod(0o700)
    options = ("--model", "smollm2", "--models-dir", str(ROOT / "models"), "--context", "1024")
    readers = [
        EventSource(
            0, {"prompt": PROMPT, "max_tokens": 60, "seed": seed, "key": f"mixed-reader-{seed}"}
        )
        for seed in range(6)
    ]
    with fleet(tmp_path, *options, CC=str(compiler), XDG_CACHE_HOME=str(tmp_path)) as mixed:
        builds = {kernels(pid): pid for pid in mixed.replicas()}
        assert len(builds) == 2, "both replicas have the same build"
        for each in readers:
            each.port = mixed.port

        async def read_while_one_dies() -> None:
            reading = asyncio.create_task(read_all(readers))
            await until(lambda: all(each.next > 10 or each.end for each in readers), 120)
            await asyncio.to_thread(mixed.kill, 1)
            await reading

        asyncio.run(read_while_one_dies())
    assert sum(each.connections > 1 for each in readers) >= 1, "nobody was at the one that died"
    with serving(tmp_path, *options, "--threads", "1") as lone:
        for each in readers:
            assert each.text == alone(lone.url, each.query)


def alone(url: str, query: dict[str, object]) -> str:
    """What a server makes of the same request that nothing happens to."""
    asked = {name: value for name, value in query.items() if name != "key"}
    body = json.dumps(asked).encode()
    head = {"Content-Type": "application/json", "Accept": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}generate", body, head)) as answer:
        text: str = json.load(answer)["text"]
        return text
