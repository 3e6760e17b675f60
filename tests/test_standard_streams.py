"""Standard streams that are closed, stalled, full or not UTF-8 end nothing and stop nobody."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from minivault import standard_streams
from minivault.standard_streams import Outlet
from tests.processes import environment

ECHO = ["--backend", "echo", "--seed", "1"]
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux


def small_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    if sys.platform == "linux":
        fcntl.fcntl(writing, SET_PIPE_SIZE, 4096)
    return reading, writing


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "minivault", *arguments]


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60):
                return
        except urllib.error.HTTPError as refusal:
            refusal.close()
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server is not ready")


def test_nobody_waits_for_a_pipe_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard_streams, "_lost_lines", 0)
    reading, writing = small_pipe()
    with os.fdopen(reading, "rb") as reader, os.fdopen(writing, "w", encoding="utf-8") as stream:
        outlet = Outlet(stream, waiting=200_000)
        for number in range(20_000):
            print(f"line {number} of many", file=outlet, flush=True)
        assert not outlet.written(time.monotonic())
        lost = standard_streams.lost_lines()
        assert 0 < lost < 20_000
        received = bytearray()
        done = threading.Event()

        def read() -> None:
            while b"the end" not in received:
                received.extend(os.read(reader.fileno(), 65536))
            done.set()

        threading.Thread(target=read, daemon=True).start()
        assert outlet.written(time.monotonic() + 60)
        print("the end", file=outlet)
        assert done.wait(60)
        *lines, end = bytes(received).decode().splitlines()
        assert end == "the end"
        # The pipe may take its lines late: then there is room again, and a second notice.
        told = [int(line.split()[1]) for line in lines if "were left out here" in line]
        kept = [int(line.split()[1]) for line in lines if line.startswith("line ")]
        assert sum(told) == lost
        assert kept == sorted(set(kept))
        assert len(kept) == 20_000 - lost


def test_a_pipe_that_does_not_block_is_waited_for_and_a_closed_one_is_not() -> None:
    reading, writing = small_pipe()
    os.set_blocking(writing, False)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        outlet = Outlet(stream)
        print("x" * 100_000, file=outlet)
        with os.fdopen(reading, "rb") as reader:
            received = b""
            while len(received) < 100_001:
                received += os.read(reader.fileno(), 65536)
        print("nobody", file=outlet)
        assert outlet.written(time.monotonic() + 20)


@pytest.mark.slow
def test_a_server_whose_output_nobody_reads_serves_and_ends(tmp_path: Path, port: int) -> None:
    reading, writing = small_pipe()
    process = subprocess.Popen(
        command("serve", "--port", str(port), "--backend", "tests.echoes:Failing"),
        cwd=tmp_path,
        env=environment(),
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    try:
        wait_until_ready(port)
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/generate", b'{"prompt":"x"}')
        asked.add_header("Accept", "application/json")
        for _ in range(30):  # each leaves a trace of a kilobyte
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(asked, timeout=60)
            refused.value.close()
        wait_until_ready(port)
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_server_without_a_standard_stream_serves_and_ends_well(
    tmp_path: Path, port: int, closed: str
) -> None:
    serve = shlex.join(command("serve", "--port", str(port), "--backend", "echo"))
    process = subprocess.Popen(
        ["sh", "-c", f"exec {serve} {closed}"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_until_ready(port)
        if sys.platform == "linux":
            for number in range(3):
                place = os.readlink(f"/proc/{process.pid}/fd/{number}")
                assert place == "/dev/null" or (place.startswith("pipe:") and number == 2)
        process.terminate()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert b"rror" not in process.stderr.read()
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def run(arguments: list[str], redirect: str, folder: Path, **env: str) -> tuple[int, str, str]:
    """A command with its standard streams redirected by a shell."""
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(command(*arguments))} {redirect}"],
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


#: One command for each way of printing: Typer's help, Rich, at once, at the end.
COMMANDS = [
    ["--help"],
    ["models"],
    ["generate", *ECHO, "one two"],
    ["generate", *ECHO, "--json", "one two"],
]
BUFFERED = [*[(each, "") for each in COMMANDS], *[(each, "1") for each in COMMANDS[1:3]]]


@pytest.mark.slow
@pytest.mark.parametrize("arguments, unbuffered", BUFFERED, ids=str)
def test_a_reader_that_has_gone_is_no_error(
    tmp_path: Path, arguments: list[str], unbuffered: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        command(*arguments),
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED=unbuffered),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("arguments, unbuffered", BUFFERED, ids=str)
def test_a_full_disk_is_one_line(tmp_path: Path, arguments: list[str], unbuffered: str) -> None:
    code, _, said = run(arguments, ">/dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert said == "error: what was to be printed cannot be written: no space left on device\n"
    assert code == 1


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16"])
def test_what_an_encoding_cannot_hold_is_escaped(tmp_path: Path, encoding: str) -> None:
    words = "caf\u00e9 \u2026 \U0001f600"
    done = subprocess.run(
        command("generate", *ECHO, words),
        cwd=tmp_path,
        env=environment(PYTHONIOENCODING=encoding),
        capture_output=True,
        timeout=60,
    )
    assert "line 1, seed 1, 128 tokens, length" in done.stderr.decode(encoding)
    assert done.returncode == 0
    shown = words.encode(encoding, "backslashreplace").decode(encoding)
    assert done.stdout.decode(encoding).startswith(f" {shown} ")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_command_is_ended_by_a_terminal_that_is_ascii(
    tmp_path: Path, arguments: list[str]
) -> None:
    code, said, errors = run(
        arguments, "", tmp_path, PYTHONIOENCODING="ascii", LANG="C", LC_ALL="C", PYTHONUTF8="0"
    )
    assert code == 0
    assert not re.sub(r"line \d+, seed 1, \d+ tokens, length\n", "", errors)
    assert said
