"""`minivault serve` as a process: how it begins, how it ends, what it bears."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from minivault import server
from minivault.errors import CannotStart
from minivault.protocol import DeadlineProtocol
from minivault.settings import Settings
from tests.live import wait_for
from tests.processes import ROOT, environment, minivault, read_to_end, read_until, serving

HALTING = ("--backend", "tests.echoes:Halting")
STUCK = ("--backend", "tests.echoes:Stuck")
WORDS = "one two three four five"


def status(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(url + "health", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def is_ready(port: int) -> bool:
    """Also before there is a server."""
    with suppress(urllib.error.URLError):
        return status(f"http://127.0.0.1:{port}/")[0] == 200
    return False


def texts(stream: bytes) -> list[str]:
    """The pieces of text in an event stream."""
    return [json.loads(data)["text"] for data in re.findall(rb'data: (\{"text":.*\})\n', stream)]


def test_the_start_says_where_everything_is_and_how_to_stop(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        printed = "".join(served.output)
        assert re.search(r"^open +http://127\.0\.0\.1:\d+/$", printed, re.MULTILINE)
        assert re.search(r"^model +echo$", printed, re.MULTILINE)
        assert f"models   {tmp_path}/models\n" in printed
        assert f"logs     {tmp_path}/logs\n" in printed
        assert "stop     Ctrl-C\n" in printed
        assert status(served.url)[0] == 200
        assert served.stop() == 0
        assert served.process.stdout is not None
        assert served.process.stdout.read() == "stopped  0 records written\n"
        assert served.errors == ""


def test_uvicorn_is_run_without_access_log_and_with_our_protocol() -> None:
    config = server._config(Starlette(), Settings())
    config.load()
    assert config.http_protocol_class is DeadlineProtocol
    assert config.access_log is False
    assert config.proxy_headers is False
    assert config.server_header is False
    assert config.limit_concurrency is not None
    assert config.limit_concurrency > 600


def test_the_port_is_taken_at_once(tmp_path: Path) -> None:
    with server.listen(Settings(port=0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port}: address already in use"):
            server.listen(Settings(port=port))


@pytest.mark.parametrize(
    "host, why", [("192.0.2.1", "cannot assign"), ("a..b", "no such"), ("!", "no such address")]
)
def test_a_foreign_address_cannot_be_listened_on(host: str, why: str) -> None:
    with pytest.raises(CannotStart, match=re.escape(f"cannot listen on {host}, port 0: {why}")):
        server.listen(Settings(host=host, port=0, insecure=True))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_address_needs_a_key_or_a_word(host: str) -> None:
    with pytest.raises(CannotStart, match="--api-key"):
        server.listen(Settings(host=host, port=0))
    server.listen(Settings(host=host, port=0, insecure=True)).close()
    server.listen(Settings(host=host, port=0, api_key=["correct-horse"])).close()


@pytest.mark.parametrize("weak", ["#", "keys", "changeme1234", "elevenchars"])
@pytest.mark.parametrize("option", ["api_key", "log_key"])
def test_a_key_that_can_be_guessed_is_for_loopback_only(option: str, weak: str) -> None:
    keys: dict[str, Any] = {"api_key": ["correct-horse"]} | {option: [weak]}
    flag = "--" + option.replace("_", "-")
    with pytest.raises(CannotStart, match=f"a key of {flag} can be guessed"):
        server.listen(Settings(host="0.0.0.0", port=0, **keys))
    server.listen(Settings(host="127.0.0.1", port=0, **keys)).close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    server.listen(Settings(host=host, port=0)).close()


@pytest.mark.slow
def test_a_busy_port_is_exit_code_3_and_touches_no_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = minivault("serve", "--backend", "echo", "--port", port, cwd=tmp_path)
    assert ended.returncode == 3
    assert ended.stderr == (
        f"error: cannot listen on 127.0.0.1, port {port}: address already in use\n"
    )
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, says",
    [
        (["--model", "no-such-model", "--offline"], "no model 'no-such-model'"),
        (["--model", "./nowhere"], "nowhere"),
        (["--backend", "no-such-backend"], "no-such-backend"),
        (["--backend", "tests.echoes:Broken"], "the weights are of another shape"),
        (["--backend", "tests.echoes:Panicking"], "could not start: Panic: the core is lost"),
        (["--backend", "echo", "--workers", "2"], "2 workers cannot share one port"),
        (["--model", "./strange"], "a model of type 'foobar', which transformers 5."),
        (["--backend", "echo", "--logs-dir", "file"], "file"),
        (["--backend", "echo", "--secret-file", "file/secret"], "file"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_exit_code_3(
    tmp_path: Path, options: list[str], says: str
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "config.json").write_text('{"model_type": "foobar"}', encoding="utf-8")
    for name in ("model.safetensors", "tokenizer.json"):
        (strange / name).symlink_to(ROOT / "models" / "storyteller" / name)
    ended = minivault("serve", "--port", "0", *options, cwd=tmp_path)
    assert ended.returncode == 3
    assert ended.stderr.startswith("error: ")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_too_few_open_files_are_exit_code_3_with_the_number_wanted(tmp_path: Path) -> None:
    ended = subprocess.run(
        ["sh", "-c", f"ulimit -n 64; exec {sys.executable} -m minivault serve --port 0"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 3
    assert ended.stderr == (
        "error: 128 open files are wanted and 64 are allowed: "
        "ulimit -n 128, or smaller --max-running and --max-waiting\n"
    )
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_fewer_open_files_than_connections_are_told_in_the_terminal_and_by_health(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, files=1024) as served:
        told = "960 connections fit where 4096 are meant to: ulimit -n 4160"
        assert served.complaints == [f"warning: {told}"]
        assert status(served.url)[1]["warnings"] == [told]
        assert (
            b"\nminivault_warnings 1.0\n" in urllib.request.urlopen(served.url + "metrics").read()
        )


@pytest.mark.slow
def test_folders_that_were_there_keep_their_modes(tmp_path: Path) -> None:
    models, parts, env = tmp_path / "models", tmp_path / "models/.downloads", tmp_path / ".env"
    for place in (models, parts):
        place.mkdir()
        place.chmod(0o777)
    env.touch()
    env.chmod(0o664)
    before = [(place.stat().st_mode, place.stat().st_uid) for place in (models, parts, env)]
    options = ("--backend", "echo", "--models-dir", "models")
    assert minivault("generate", *options, "x", cwd=tmp_path).returncode == 0
    assert minivault("models", "--verify", cwd=tmp_path).returncode == 0
    with serving(tmp_path, *options) as served:
        served.stop()
    assert before == [(place.stat().st_mode, place.stat().st_uid) for place in (models, parts, env)]


@pytest.mark.slow
def test_workers_by_variable_are_refused_too(tmp_path: Path) -> None:
    ended = minivault(
        "serve", "--backend", "echo", "--port", "0", cwd=tmp_path, WEB_CONCURRENCY="4"
    )
    assert ended.returncode == 3
    assert "--secret-file" in ended.stderr


@pytest.mark.slow
def test_it_answers_while_the_model_loads(tmp_path: Path) -> None:
    with serving(tmp_path, "--backend", "tests.echoes:Loading", ready=False) as served:
        code, health = status(served.url)
        assert (code, health["status"]) == (503, "loading")
        (tmp_path / "loaded").touch()
        served.wait_for("ready")
        assert status(served.url)[0] == 200


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_streams_with_a_word_and_a_record(
    tmp_path: Path, number: signal.Signals
) -> None:
    with serving(tmp_path, *HALTING, "--drain", "0.3") as served:
        stream = served.post(prompt=WORDS, max_tokens=4000)
        begin = read_until(stream, b'data: {"text"')
        assert served.stop(number) == 0
        received = begin + read_to_end(stream)
        assert b'event: stopped\ndata: {"finish_reason":"interrupted","resumable":true}' in received
        assert received.endswith(b"0\r\n\r\n")
        [record] = served.records()
        assert record["finish_reason"] == "interrupted"
        assert record["response"] == "".join(texts(received))
        assert served.complaints == []


@pytest.mark.slow
def test_a_generation_that_ends_within_the_drain_time_is_whole(tmp_path: Path) -> None:
    with serving(tmp_path, *HALTING, "--drain", "60") as served:
        stream = served.post(prompt=WORDS, max_tokens=60)
        read_until(stream, b'data: {"text"')
        served.process.send_signal(signal.SIGTERM)
        wait_for(lambda: status(served.url)[0] == 503)
        (tmp_path / "go").touch()
        assert served.process.wait(60) == 0
        assert b"event: done" in read_to_end(stream)
        assert served.records()[0]["finish_reason"] == "length"


@pytest.mark.slow
def test_while_draining_nothing_new_begins(tmp_path: Path) -> None:
    with serving(tmp_path, *HALTING, "--drain", "60") as served:
        stream = served.post(prompt=WORDS, max_tokens=4000)
        read_until(stream, b'data: {"text"')
        served.process.send_signal(signal.SIGTERM)
        wait_for(lambda: status(served.url)[0] == 503)
        refusal = read_to_end(served.post(prompt="too late"))
        assert refusal.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: " in refusal.lower()
        stream.close()


@pytest.mark.slow
def test_a_hundred_streams_and_a_deaf_client_do_not_delay_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, *HALTING, "--max-waiting", "100", "--drain", "0.3") as served:
        huge = "x" * 120_000
        deaf = served.post(prompt=f"{huge} {huge}", max_tokens=4000)
        streams = [served.post(prompt=WORDS, max_tokens=4000) for _ in range(100)]
        for stream in streams:
            read_until(stream, b"event: start")
        assert served.stop() == 0  # else an alarm ends it, some seconds later
        for stream in streams:
            assert b'"finish_reason":"interrupted"' in read_to_end(stream)
        deaf.close()
        reasons = [record["finish_reason"] for record in served.records()]
        assert reasons == ["interrupted"] * 101
        assert served.complaints == []


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_the_next_start_recovers(tmp_path: Path) -> None:
    with serving(tmp_path, *HALTING, "--drain", "60") as served:
        stream = served.post(prompt=WORDS, max_tokens=4000)
        said = read_until(stream, b'data: {"text"')
        served.process.send_signal(signal.SIGINT)
        wait_for(lambda: status(served.url)[0] == 503)
        assert served.stop(signal.SIGINT) == 128 + signal.SIGINT
        stream.close()
    with serving(tmp_path) as served:
        [record] = served.records()
        assert record["finish_reason"] == "interrupted"
        assert record["response"].startswith("".join(texts(said)))


@pytest.mark.slow
def test_not_even_a_blocked_event_loop_keeps_the_process_alive(tmp_path: Path) -> None:
    with serving(tmp_path, *STUCK, "--drain", "0") as served, served.post(prompt=WORDS):
        wait_for((tmp_path / "blocked").exists)
        assert served.stop() == -signal.SIGALRM


@pytest.mark.slow
def test_what_takes_long_to_be_unloaded_does_not_delay_the_end(tmp_path: Path) -> None:
    with serving(tmp_path, "--backend", "tests.echoes:Clinging") as served:
        assert served.stop() == 0


@pytest.mark.slow
def test_five_hundred_idle_connections_keep_nobody_out(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        idle = [served.connect() for _ in range(500)]
        answer = read_to_end(served.post(prompt=WORDS, max_tokens=3))
        assert b"event: done" in answer
        assert served.stop() == 0
        for connection in idle:
            connection.close()


@pytest.mark.slow
def test_prompts_are_nowhere_but_in_the_log(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        for path in ("/generate?prompt=CANARY&max_tokens=2", "/generate?prompt=CANARY&nope=1"):
            read_to_end(
                served.connect(
                    f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
            )
        read_to_end(served.post(prompt="CANARY", max_tokens=2))
        assert served.stop() == 0
        assert served.process.stdout is not None
        assert "CANARY" not in "".join(served.output) + served.process.stdout.read()
        assert "CANARY" not in served.errors
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path.name for path in files if b"CANARY" in path.read_bytes()] == ["log.jsonl"]


@pytest.mark.slow
def test_under_plain_uvicorn_records_are_written_too(tmp_path: Path, port: int) -> None:
    command = [sys.executable, "-m", "uvicorn", "minivault.app:app", "--port", str(port)]
    env = environment(MINIVAULT_BACKEND="tests.echoes:Halting", MINIVAULT_DRAIN="0.2")
    with (tmp_path / "stderr").open("w") as errors:
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stderr=errors)
    try:
        wait_for(lambda: process.poll() is not None or is_ready(port))
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        body = json.dumps({"prompt": WORDS, "max_tokens": 4000})
        request = f"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{request}\r\n{body}".encode())
        read_until(connection, b"one")
        process.terminate()
        process.wait(60)
        connection.close()
    finally:
        process.kill()
        process.wait()
    [line] = (tmp_path / "logs" / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["finish_reason"] == "interrupted"
