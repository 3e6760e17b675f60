"""The command line: options, exit codes, one-line errors, and `generate`."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minivault import cli
from minivault.cli.options import read_settings
from minivault.errors import InvalidRequest
from minivault.schemas import Parameters
from minivault.settings import Settings
from tests.processes import environment, minivault

HEAVY = ("torch", "transformers", "starlette", "uvicorn", "huggingface_hub", "httpx", "numpy")
ECHO = ("--backend", "echo", "--seed", "1")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MINIVAULT_")]:
        monkeypatch.delenv(name)


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "logs" / "log.jsonl").read_text(encoding="ascii").splitlines()
    return [json.loads(line) for line in lines]


INTERRUPTED = """
import importlib.abc, runpy, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "typer":
            print("importing", flush=True)
            for _ in range(2000):  # one long wait would miss a signal that comes just before it
                time.sleep(0.01)
sys.meta_path.insert(0, Slow())
runpy.run_module("minivault", run_name="__main__", alter_sys=True)
"""


def test_ctrl_c_before_the_first_line_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == ""


# ---- help ---------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy() -> None:
    helps = "main([]); main(['--help']); main(['serve', '--help'])"
    code = f"from minivault.cli import main; {helps}; import sys; "
    code += f"print([m for m in {HEAVY} if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_every_setting_is_an_option_of_serve(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        flag = name.replace("_", "-")
        assert f"--no-{flag} " in shown if field.default is True else f"--{flag} " in shown
    assert "Default: 1 GiB." in shown
    assert "Do not keep prompts and responses; their lengths" in shown


def test_every_parameter_is_an_option_of_generate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["generate", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in Parameters.model_fields:
        assert f"--{name.replace('_', '-')} " in shown


def test_no_command_shows_the_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    shown = capsys.readouterr()
    assert "generate" in shown.out
    assert shown.err == ""


# ---- options, variables, .env -------------------------------------------------------------------


def test_options_override_variables_and_variables_override_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(
        "MINIVAULT_PORT=1\nMINIVAULT_HOST=localhost\nMINIVAULT_MODEL=file\n", encoding="utf-8"
    )
    monkeypatch.setenv("MINIVAULT_PORT", "2")
    monkeypatch.setenv("MINIVAULT_HOST", "::1")
    settings = read_settings({"port": 3})
    assert (settings.port, settings.host, settings.model) == (3, "::1", "file")


def test_every_option_of_serve_reaches_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr("minivault.server.serve", lambda settings, workers: given.update(settings))
    arguments = {
        "--host": "::1",
        "--port": "1",
        "--model": "m",
        "--models-dir": "a",
        "--logs-dir": "b",
        "--dtype": "int8",
        "--device": "cpu",
        "--runner": "native",
        "--threads": "3",
        "--context": "4096",
        "--max-running": "4",
        "--max-waiting": "5",
        "--max-choices": "7",
        "--max-body": "1 MiB",
        "--model-alias": "gpt",
        "--kv-memory": "2 MiB",
        "--prefix-memory": "0",
        "--backend": "echo",
        "--api-key": "k",
        "--log-key": "l",
        "--secret-file": "s",
        "--signing-key": "p",
        "--ship-hashes": "s3://h",
        "--ship-texts": "s3://t",
        "--ship-credentials": "c",
        "--ship-every": "2",
        "--witness": "https://w.example#key",
        "--witness-every": "3",
        "--allowed-host": "h",
        "--trusted-origin": "https://o.example",
        "--drain": "1.5",
        "--log-max-bytes": "1 KiB",
        "--log-keep-files": "6",
        "--log-keep-days": "7",
    }
    flags = [
        "--no-plain-chat",
        "--offline",
        "--insecure",
        "--no-store-text",
        "--share-prefixes",
        "--verbose",
    ]
    pairs = [word for pair in arguments.items() for word in pair]
    assert cli.main(["serve", *pairs, *flags]) == 0
    changed = {name for name, value in Settings() if given[name] != value}
    upstream = {"upstream", "upstream_key", "upstream_limit", "upstream_same_bytes", "splice"}
    assert changed == set(Settings.model_fields) - upstream  # it excludes --model
    assert (given["threads"], given["kv_memory"], given["drain"]) == (3, 2 * 2**20, 1.5)
    assert given["store_text"] is False
    servers = ["--upstream", "http://127.0.0.1:1", "--upstream-key", "k", "--upstream-limit", "7"]
    assert cli.main(["serve", *servers, "--upstream-same-bytes", "--no-splice"]) == 0
    assert {name for name, value in Settings() if given[name] != value} == upstream


@pytest.mark.parametrize("command", ["serve", "generate"])
def test_an_option_that_is_gone_names_the_one_there_is(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main([*command.split(), "--kernels", "torch"]) == 2
    assert "--kernels is gone; say --runner" in capsys.readouterr().err
    monkeypatch.setenv("MINIVAULT_KERNELS", "torch")
    assert cli.main(command.split()) == 2
    assert "MINIVAULT_KERNELS: is gone; say --runner" in capsys.readouterr().err


def test_lists_come_by_comma_in_a_variable_and_by_repetition_on_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIVAULT_ALLOWED_HOST", "a.example, b.example,")
    assert read_settings({}).allowed_host == ["a.example", "b.example"]
    assert read_settings({"allowed_host": ["c.example"]}).allowed_host == ["c.example"]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["serve", "--port", "abc"], "--port"),
        (["serve", "--port", "70000"], "--port: input should be less than or equal to 65535"),
        (["serve", "--kv-memory", "much"], "--kv-memory: a size is a number and a unit"),
        (["serve", "--dtype", "float8"], "--dtype: input should be 'auto'"),
        (["serve", "--api-key", "@/nowhere"], "--api-key: cannot read /nowhere"),
        (["serve", "--api-key", ""], "--api-key: holds no key, only blanks"),
        (["serve", "--log-key", "@/dev/null"], "--log-key: /dev/null holds no key"),
        (["serve", "--trusted-origin", " "], "--trusted-origin: holds no origin"),
        (["serve", "--no-such-option"], "No such option"),
        (["serve", "8000"], "unexpected extra argument"),
        (["no-such-command"], "No such command"),
        (["generate", *ECHO, "Hi", "--top-p", "0"], "top_p: must be a number above 0"),
        (["generate", *ECHO, "Hi", "--stop", ""], "stop"),
        (["generate", *ECHO, ""], "prompt"),
        (["generate", *ECHO, "Hi", "--max-tokens", "99999"], "max_tokens: must be from 1 to 4096"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert says in shown.err
    assert shown.err.count("\n") == 1


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAULT_THREADS", "many")
    with pytest.raises(InvalidRequest, match=r"^MINIVAULT_THREADS: input should be a valid int"):
        read_settings({})


@pytest.mark.parametrize("blank", [" ", ",", "@/dev/null"])
def test_a_variable_that_leaves_no_key_is_named(
    blank: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIVAULT_API_KEY", blank)
    assert cli.main(["serve"]) == 2
    assert capsys.readouterr().err.startswith("error: MINIVAULT_API_KEY: ")


def test_a_misspelt_variable_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("minivault.server.serve", lambda settings, workers: None)
    monkeypatch.setenv("MINIVAULT_APIKEY", "CANARY")
    monkeypatch.setenv("MINIVAULT_PORT", "8001")
    assert cli.main(["serve"]) == 0
    assert capsys.readouterr().err == "warning: MINIVAULT_APIKEY is not a setting of MiniVault\n"


def test_a_misspelt_variable_in_the_env_file_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("minivault.server.serve", lambda settings, workers: None)
    (tmp_path / ".env").write_text("MINIVAULT_APIKEY=CANARY\nOTHER=1\nMINIVAULT_PORT=8001\n")
    assert cli.main(["serve"]) == 0
    said = capsys.readouterr().err
    assert said == "warning: MINIVAULT_APIKEY in .env is not a setting of MiniVault\n"


def test_a_kubernetes_service_called_minivault_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Settings] = []
    monkeypatch.setattr("minivault.server.serve", lambda settings, workers: served.append(settings))
    for name, value in {
        "MINIVAULT_PORT": "tcp://10.96.12.7:8000",
        "MINIVAULT_PORT_8000_TCP": "tcp://10.96.12.7:8000",
        "MINIVAULT_PORT_8000_TCP_ADDR": "10.96.12.7",
        "MINIVAULT_SERVICE_HOST": "10.96.12.7",
        "MINIVAULT_SERVICE_PORT": "8000",
        "MINIVAULT_SERVICE_PORT_HTTP": "8000",
        "MINIVAULT_CHAT_PORT": "tcp://10.96.12.8:80",
        "MINIVAULT_CHAT_SERVICE_HOST": "10.96.12.8",
    }.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["serve"]) == 0
    assert served[0].port == 8000
    (complaint,) = capsys.readouterr().err.splitlines()
    assert complaint.startswith("warning: MINIVAULT_PORT=tcp://10.96.12.7:8000 is left aside: Kube")


@pytest.mark.parametrize(
    "option, value, says",
    [
        ("--kv-memory", "0", "must be at least 64 KiB"),
        ("--kv-memory", "-1", "such as 512 MiB"),
        ("--kv-memory", "9" * 400, "no machine has so many bytes"),
        ("--log-max-bytes", "0", "must be at least 1 KiB"),
        ("--prefix-memory", "1e3", "such as 512 MiB"),
        ("--threads", "0", "greater than or equal to 1"),
        ("--max-running", "0", "greater than or equal to 1"),
        ("--max-waiting", "-1", "greater than or equal to 0"),
        ("--drain", "nan", "less than or equal to 3600"),
        ("--drain", "inf", "less than or equal to 3600"),
        ("--log-keep-days", "1e308", "less than or equal to 100000"),
        ("--log-keep-files", "0", "greater than or equal to 1"),
        ("--port", "65536", "less than or equal to 65535"),
        ("--host", "", "at least 1 character"),
        ("--model", "", "at least 1 character"),
        ("--models-dir", "", "must be a path, and is empty"),
        ("--logs-dir", "~nobody-of-this-name/logs", "there is no home folder for ~nobody"),
    ],
)
def test_a_senseless_value_is_a_usage_error(
    option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", f"{option}={value}"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {option}: ")
    assert says in said


@pytest.mark.parametrize("name", ["models_dir", "logs_dir", "secret_file", "signing_key"])
def test_the_home_folder_is_meant_by_a_tilde_in_options_variables_and_the_env_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert getattr(read_settings({name: "~/here"}), name) == tmp_path / "here"
    (tmp_path / ".env").write_text(f"MINIVAULT_{name.upper()}=~/file\n")
    assert getattr(read_settings({}), name) == tmp_path / "file"
    monkeypatch.setenv(f"MINIVAULT_{name.upper()}", "~/variable")
    assert getattr(read_settings({}), name) == tmp_path / "variable"


def test_an_unreadable_env_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_bytes(b"MINIVAULT_MODEL=\xff\n")
    assert cli.main(["serve"]) == 2
    assert capsys.readouterr().err.startswith("error: .env: cannot be read")


# ---- version, errors ----------------------------------------------------------------------------


def test_version_names_what_a_text_depends_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version", "--json"]) == 0
    versions = json.loads(capsys.readouterr().out)
    assert {"minivault", "python", "torch", "transformers", "tokenizers"} <= set(versions)
    assert cli.main(["version"]) == 0
    assert f"minivault          {versions['minivault']}\n" in capsys.readouterr().out


def test_an_unexpected_error_says_where_but_not_what(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: Settings, workers: int | None) -> None:
        raise ValueError("cannot read CANARY")

    monkeypatch.setattr("minivault.server.serve", fail)
    assert cli.main(["serve"]) == 1
    assert capsys.readouterr().err.startswith("error: unexpected ValueError in ")


# ---- generate -----------------------------------------------------------------------------------


def test_generate_prints_the_text_and_logs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", *ECHO, "--max-tokens", "5", "one two three"]) == 0
    [record] = records(tmp_path)
    shown = capsys.readouterr()
    assert shown.out == record["response"] != ""
    assert shown.err == "line 1, seed 1, 5 tokens, length\n"
    assert (record["prompt"], record["client"]) == ("one two three", "cli")
    assert (record["finish_reason"], record["seed"]) == ("length", 1)
    assert record["params"]["max_tokens"] == 5


def test_on_a_terminal_generate_says_what_it_waits_for_and_shows_the_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert cli.main(["generate", *ECHO, "--max-tokens", "5", "one two"]) == 0
    shown = capsys.readouterr()
    [record] = records(tmp_path)
    assert shown.out == f"\x1b[2mone two\x1b[0m{record['response']}\n"
    assert re.match("\x1b\\[2mloading .+ …\x1b\\[0m\r\x1b\\[Kline 1, seed 1, ", shown.err)


def test_generate_json_is_what_the_api_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", *ECHO, "--json", "--max-tokens", "5", "one two three"]) == 0
    answer = json.loads(capsys.readouterr().out)
    [record] = records(tmp_path)
    assert answer["text"] == record["response"]
    assert answer["receipt"]["seq"] == record["seq"]
    assert {"id", "model", "finish_reason", "usage", "timings", "seed", "params"} <= set(answer)


@pytest.mark.parametrize(
    "options, prompt, messages",
    [
        ([], "<user> Hi </user> <assistant>", [("user", "Hi")]),
        (
            ["--system", "Be brief."],
            "<system> Be brief. </system> <user> Hi </user> <assistant>",
            [("system", "Be brief."), ("user", "Hi")],
        ),
        (["--raw"], "Hi", None),
    ],
)
def test_a_model_with_a_chat_template_gets_the_prompt_as_a_turn(
    tmp_path: Path, options: list[str], prompt: str, messages: list[tuple[str, str]] | None
) -> None:
    chatty = ["--backend", "tests.browser.backends:Chatty", "--max-tokens", "3", "--top-k", "7"]
    assert cli.main(["generate", *chatty, *options, "Hi"]) == 0
    [record] = records(tmp_path)
    assert record["prompt"] == prompt
    assert (record["params"]["max_tokens"], record["params"]["top_k"]) == (3, 7)
    turns = [{"role": role, "content": content} for role, content in messages or []]
    assert record.get("messages", []) == turns


@pytest.mark.parametrize(
    "options, says", [((), "no chat template"), (("--raw",), "--raw makes none")]
)
def test_a_system_turn_needs_a_chat(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    assert cli.main(["generate", *ECHO, "--system", "Be brief.", *options, "Hi"]) == 2
    assert says in capsys.readouterr().err


def test_a_text_that_is_empty_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--backend", "tests.echoes:Silent", "Hi"]) == 0
    out, err = capsys.readouterr()
    assert (out, "\nnote: the text is empty" in err) == ("", True)


def test_stop_repeats(tmp_path: Path) -> None:
    assert cli.main(["generate", *ECHO, "--stop", "x", "--stop", " two", "one two"]) == 0
    assert records(tmp_path)[0]["params"]["stop"] == ["x", " two"]


@pytest.mark.slow
@pytest.mark.parametrize("argument", [[], ["-"]])
def test_a_prompt_can_be_piped_in(tmp_path: Path, argument: list[str]) -> None:
    ended = minivault(
        "generate", *ECHO, "--max-tokens", "3", *argument, cwd=tmp_path, input="ä b\n"
    )
    assert ended.returncode == 0
    assert records(tmp_path)[0]["prompt"] == "ä b"


@pytest.mark.slow
def test_a_prompt_must_be_utf_8(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "minivault", "generate", *ECHO]
    piped = subprocess.run(
        command, cwd=tmp_path, env=environment(), input=b"\xff", capture_output=True
    )
    given = subprocess.run(
        [*command, b"\xff"], cwd=tmp_path, env=environment(), capture_output=True
    )
    assert piped.returncode == given.returncode == 2
    assert piped.stderr == b"error: prompt: must be UTF-8\n"
    assert given.stderr.startswith(b"error: prompt: ")


@pytest.mark.slow
def test_a_terminal_is_not_waited_for(tmp_path: Path) -> None:
    controller, terminal = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-m", "minivault", "generate", *ECHO],
        cwd=tmp_path,
        env=environment(),
        stdin=terminal,
        capture_output=True,
        timeout=60,
    )
    os.close(controller)
    os.close(terminal)
    assert ended.returncode == 2
    assert b"error: prompt: give it as an argument" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_cancelled_record_of_what_was_said(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "minivault",
            "generate",
            "--backend",
            "tests.echoes:Halting",
            "one two",
        ],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    said = os.read(process.stdout.fileno(), 100)
    process.send_signal(number)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    [record] = records(tmp_path)
    assert record["finish_reason"] == "cancelled"
    assert record["response"].encode() == said + rest
    assert re.fullmatch(r"line 1, seed \d+, \d+ tokens?, cancelled\n", errors.decode())


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "minivault",
            "generate",
            "--backend",
            "tests.echoes:Halting",
            "one two",
        ],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    (tmp_path / "go").touch()
    assert process.wait(60) == 141
    with process.stderr as errors:
        assert errors.read() == b""
    assert records(tmp_path)[0]["finish_reason"] == "disconnected"


def test_a_failed_generation_is_exit_code_1_and_quotes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", "--backend", "tests.echoes:Failing", "CANARY"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "so far "
    assert re.fullmatch(
        r"line 1, seed \d+, \d+ tokens?, error\nerror: the backend raised ValueError\n", shown.err
    )
    assert records(tmp_path)[0]["finish_reason"] == "error"


def test_a_backend_that_cannot_start_is_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "--backend", "tests.echoes:Broken", "Hi"]) == 3
    assert capsys.readouterr().err == "error: the weights are of another shape\n"


@pytest.mark.slow
def test_what_a_model_says_cannot_steer_the_terminal_and_is_whole_in_a_pipe(
    tmp_path: Path,
) -> None:
    prompt = "\x1b[2J\x07 \x9b31m"
    asked = ("generate", "--backend", "echo", "--logs-dir", str(tmp_path / "logs"), prompt)
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "minivault", *asked]
    with subprocess.Popen(command, stdout=terminal, env=environment()) as process:
        assert process.wait(60) == 0
    os.close(terminal)
    shown = os.read(controller, 2**16).decode()
    os.close(controller)
    shown = shown.replace("\x1b[2m", "").replace("\x1b[0m", "")  # the prompt is dimmed
    assert not set(shown) & set("\x1b\x07\x9b")
    assert "\\x1b[2J\\x07 \\x9b31m" in shown
    assert "\x1b[2J\x07 \x9b31m" in minivault(*asked, cwd=tmp_path).stdout
