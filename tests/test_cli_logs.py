"""`minivault logs` on real logs: what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from minivault.backends.base import Finish, Request
from minivault.backends.echo import EchoBackend
from minivault.cli.logs import app
from minivault.cli.logs_view import print_records, print_summary
from minivault.errors import CannotStart, ChainBroken, InvalidRequest, MiniVaultError, NotFound
from minivault.generations.record import engine_data
from minivault.schemas import EffectiveParameters
from minivault.vault import Begin, Outcome, Vault
from minivault.vault.record import Record
from minivault.vault.search import Summary
from tests.vault.samples import write

PROMPT = "one two three four"


def run(*arguments: object, folder: Path | None = None) -> int:
    words = [str(each) for each in arguments]
    code = app([*words, "--logs-dir", str(folder)] if folder else words, standalone_mode=False)
    return code or 0


def _say(vault: Vault, seed: int, *, cut_at: int | None = None) -> None:
    """One generation of the echo backend, cut short after some tokens if asked."""
    params = EffectiveParameters(
        max_tokens=6,
        max_tokens_requested=6,
        temperature=1,
        top_k=0,
        top_p=1,
        repetition_penalty=1,
        stop=("three four",),
    )
    backend = EchoBackend()

    async def text() -> tuple[str, str, int]:
        from minivault.generations.run import run as made

        said, tokens = "", 0
        async for item in made(backend, Request(PROMPT, params, seed)):
            if isinstance(item, Finish):
                return said, item.reason.value, tokens
            said += item.text
            tokens += item.tokens
            if tokens == cut_at:
                return said + item.tail, "cancelled", tokens
        raise AssertionError

    said, reason, tokens = asyncio.run(text())
    info = backend.info
    model = {"name": info.name, "sha256": info.sha256}
    begin = Begin(
        f"g{seed}", PROMPT, params.model_dump(mode="json"), seed, "cli", model, engine_data(info)
    )
    entry = vault.begin(begin).result(60)
    usage = {"prompt_tokens": 4, "completion_tokens": tokens}
    vault.commit(entry, Outcome(said, reason, usage, {"total_ms": 1.0}, 5)).result(60)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Five records: whole, stopped and cancelled ones."""
    folder = tmp_path / "logs"
    vault = Vault(folder)
    vault.open()
    for seed in range(4):
        _say(vault, seed)
    _say(vault, 4, cut_at=2)
    vault.close()
    return folder


def test_importing_the_command_loads_nothing_big() -> None:
    code = (
        "import sys, minivault.cli.logs\n"
        "big = {'torch', 'starlette', 'transformers', 'rich.table', 'cryptography', 'numpy'}\n"
        "sys.exit(', '.join(big & set(sys.modules)) or None)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_tail_shows_the_newest(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("tail", "-n", 2, "--json", folder=log) == 0
    assert [json.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()] == [4, 5]
    run("tail", folder=log)
    assert "one two" in capsys.readouterr().out


def test_a_row_fits_its_terminal_and_neither_text_takes_the_others_half(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat's prompts all begin alike: its last question stands for it. Today needs no date."""
    monkeypatch.setenv("COLUMNS", "50")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    turns = [{"role": "user", "content": "first"}, {"role": "user", "content": "why " * 40}]
    told = {"prompt": "<|im_start|>", "messages": turns, "finish_reason": "stop"}
    long = {"prompt": "why " * 40, "finish_reason": "length", "response": "yes"}
    rows = [
        Record(17, "", {**told, "timestamp": now, "response": "because " * 40}),
        Record(18, "", {**long, "timestamp": "2026-01-02T03:04:05.678Z"}),
    ]
    print_records(rows[:1])
    print_records(rows)
    alone, first, second = capsys.readouterr().out.splitlines()
    assert alone.startswith(f"17  {now[11:19]}  stop  why why why")
    assert "… → because bec" in alone
    assert max(map(len, (alone, first, second))) <= 50
    assert second.startswith("18  2026-01-02 03:04:05  length  why")
    assert second.endswith("… → yes")


def test_tail_follows_what_is_written_and_rotated(log: Path) -> None:
    command = [sys.executable, "-c", "from minivault.cli.logs import app; app()"]
    arguments = ["tail", "-n", "1", "-f", "--json", "--logs-dir", str(log)]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        assert process.stdout
        seen = [process.stdout.readline()]
        vault = Vault(log, max_bytes=1500)
        vault.open()
        for number in range(6):
            write(vault, f"new{number}")
        vault.close()
        seen += [process.stdout.readline() for _ in range(6)]
        process.terminate()
        watchdog.cancel()
    assert [json.loads(line)["seq"] for line in seen] == [5, 6, 7, 8, 9, 10, 11]


def test_show_gives_one_record(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("show", 2, "--json", folder=log)
    assert json.loads(capsys.readouterr().out)["seq"] == 2
    run("show", 2, folder=log)
    assert PROMPT in capsys.readouterr().out
    with pytest.raises(NotFound, match="there is no record 9"):
        run("show", 9, folder=log)


def test_a_text_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = Vault(tmp_path)
    vault.open()
    write(vault, "a", "\x1b[2J[bold]hi[/bold]\x07", "\x9b31m\u202eevil [/nonsense]")
    vault.close()
    for command in (["tail"], ["show", 1], ["search", "evil"]):
        run(*command, folder=tmp_path)
        out = capsys.readouterr().out
        assert not set(out) & set("\x1b\x07\x9b\u202e")
        assert "[bold]hi[/bold]" in out
        assert "\\x1b[2J" in out


@pytest.mark.parametrize("field", ["prompt", "timestamp", "finish_reason", "model", "\x1b[8m"])
def test_no_field_of_a_log_that_somebody_sent_can_steer_the_terminal(
    field: str, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;x\x07\x9b2J\u202e\ud800"
    fields = json.loads((log / "log.jsonl").read_bytes().splitlines()[0])
    value = {"name": evil, "sha256": evil} if field == "model" else evil
    line = json.dumps({**fields, field: value}, ensure_ascii=False).replace("\\u001b", "\x1b")
    (log / "log.jsonl").write_bytes(line.encode("utf-8", "replace") + b"\n")
    commands = (["tail"], ["tail", "--json"], ["show", 1], ["show", 1, "--json"], ["stats"])
    for command in (*commands, ["search"], ["replay", 1, "--models-dir", log]):
        with contextlib.suppress(MiniVaultError):
            run(*command, folder=log)
        out, err = capsys.readouterr()
        assert not set(out + err) & set("\x1b\x07\x9b\u202e\ud800")


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1+1", "\t=1", "\r=1", "'quoted", "1=1", ""]


def test_a_cell_never_begins_a_formula_and_gives_the_text_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = Vault(tmp_path)
    vault.open()
    for number, text in enumerate(FORMULAS):
        write(vault, f"g{number}", text, text)
    vault.close()
    target = tmp_path / "out.csv"
    run("export", "--format", "csv", "-o", target, folder=tmp_path)
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not [
        row for row in rows for cell in row.values() if cell.startswith(tuple("=+-@\uff1d\t\r"))
    ]
    assert [row["prompt"].removeprefix("'") for row in rows] == FORMULAS


def test_search_finds_or_says_no(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("search", "THREE", "--json", folder=log) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert run("search", "--finish-reason", "cancelled", "--json", folder=log) == 0
    assert json.loads(capsys.readouterr().out)["seq"] == 5
    assert run("search", "five", folder=log) == 1


def test_a_damaged_file_is_named_and_the_rest_is_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vault = Vault(tmp_path, max_bytes=1500)
    vault.open()
    for number in range(6):
        write(vault, f"g{number}", "find me")
    vault.close()
    old = sorted(tmp_path.glob("log-*.jsonl"))[1]
    packed = old.with_name(f"{old.name}.gz")
    packed.write_bytes(gzip.compress(old.read_bytes())[:40])
    old.unlink()
    commands = [["search", "find me", "--json"], ["tail", "--json"], ["export"], ["stats"]]
    for command in commands:
        assert run(*command, folder=tmp_path) == 1
        out, err = capfd.readouterr()
        assert packed.name in err
        assert "all that can be read is shown" in err
        if command != ["stats"]:
            seqs = {json.loads(line)["seq"] for line in out.splitlines()}
            assert {1, 6} <= seqs < {1, 2, 3, 4, 5, 6}
    with open(tmp_path / "log.jsonl", "ab") as file:
        last = (tmp_path / "log.jsonl").read_bytes().splitlines(keepends=True)[-1]
        file.write(b'find me,"seq":7,"prev":"' + b"0" * 64 + b'"}\n' + last)
    assert run("search", "find me", "--json", folder=tmp_path) == 1
    out, err = capfd.readouterr()
    assert "the log: a line in it is no record; minivault logs verify names it" in err
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [6, 6, 5, 2, 1]
    assert run("stats", folder=tmp_path) == 1


def test_a_receipt_of_a_redacted_record_says_what_it_cannot_prove(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = Vault(tmp_path)
    vault.open()
    receipt = write(vault, "g", "x").model_dump_json()
    vault.close()
    run("check-receipt", receipt, folder=tmp_path)
    assert "holds record 1 as the receipt says" in capsys.readouterr().out
    run("redact", 1, "--yes", folder=tmp_path)
    capsys.readouterr()
    assert run("check-receipt", receipt, folder=tmp_path) == 0
    assert "what is left of it is proven by a later receipt" in capsys.readouterr().out
    run("check-receipt", receipt, "--json", folder=tmp_path)
    assert json.loads(capsys.readouterr().out)["redacted"] is True


def test_stats_sum_up(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("stats", "--json", folder=log)
    data = json.loads(capsys.readouterr().out)
    assert (data["records"], data["models"]) == (5, {"echo": 5})
    run("stats", folder=log)
    assert "echo 5" in capsys.readouterr().out
    print_summary(Summary(records=1234, size=92510, first=None))
    shown = capsys.readouterr().out
    assert "1,234" in shown
    assert "92,510 bytes" in shown


def test_verify_says_yes_or_names_the_line(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", folder=log) == 0
    assert "records 1 to 5 follow each other unchanged" in capsys.readouterr().out
    path = log / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seed":1', b'"seed":7'))
    with pytest.raises(ChainBroken, match=r"log.jsonl, line 2: record 2 was changed"):
        run("verify", folder=log)
    assert run("verify", "--json", folder=log) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["file"], answer["line"]) == (False, "log.jsonl", 2)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_replay_says_what_one_waits_for(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = _Terminal()
    monkeypatch.setattr(sys, "stderr", seen)
    assert run("replay", 1, folder=log) == 0
    loading, writing, end = seen.getvalue().split("\r\x1b[K")
    assert "loading echo …" in loading
    assert "echo writes the text of record 1 again …" in writing
    assert end == ""


def test_replay_tells_same_from_altered(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seq in range(1, 6):
        assert run("replay", seq, folder=log) == 0
        assert capsys.readouterr().out == f"record {seq} is the same\n"
    assert run("replay", "--all", folder=log) == 0
    assert capsys.readouterr().out == "5 same, 0 differs, 0 not reproducible\n"
    path = log / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"response":" ', b'"response":"_'))
    assert run("replay", "--all", folder=log) == 1
    assert "differs from character 1 on" in capsys.readouterr().out


def test_replay_says_why_it_cannot(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"name":"echo"', b'"name":"nobody"'))
    assert run("replay", 1, "--models-dir", log, folder=log) == 0
    assert "because its model nobody with the sha256" in capsys.readouterr().out
    with pytest.raises(InvalidRequest):
        run("replay", folder=log)


def test_export_as_csv_and_jsonl(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", folder=log)
    assert capsys.readouterr().out.encode() == (log / "log.jsonl").read_bytes()
    target = tmp_path / "out.csv"
    run("export", "--format", "csv", "-o", target, folder=log)
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["seq"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0]["prompt"] == PROMPT
    assert target.stat().st_mode & 0o777 == 0o600
    target.chmod(0o644)  # somebody else's file, which all may read, gives way to a private one
    run("export", "-o", target, folder=log)
    assert target.read_bytes() == (log / "log.jsonl").read_bytes()
    assert target.stat().st_mode & 0o777 == 0o600


def test_redaction_takes_the_copies_too_and_names_what_it_cannot(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = Vault(log)
    vault.open()
    write(vault, "replay", PROMPT, " the same", replays=3)
    write(vault, "g2", PROMPT, " the same", continues="g2")
    write(vault, "chat", f"{PROMPT} and what then?")
    vault.close()
    (log / "log.jsonl~").write_bytes((log / "log.jsonl").read_bytes())
    assert run("redact", 3, "--yes", folder=log) == 0
    out = capsys.readouterr().out
    for seq in (3, 6, 7):
        assert f"record {seq} is redacted; record" in out
    assert "log.jsonl~ is no file of the log, and still holds the text" in out
    assert "records 1, 2, 4, 5, 8 hold the same words" in out
    assert run("verify", folder=log) == 0
    assert b" the same" not in (log / "log.jsonl").read_bytes()


def test_a_log_that_was_never_signed_is_adopted(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "my.key"
    run("keygen", key)
    with pytest.raises(CannotStart, match="not signed with this key .*minivault logs adopt"):
        Vault(log, signing_key=key).open()
    assert run("adopt", "--yes", "--signing-key", key, folder=log) == 0
    assert "the checkpoint is signed: records 1 to 5" in capsys.readouterr().out
    assert run("verify", "--public-key", f"{key}.pub", folder=log) == 0
    Vault(log, signing_key=key).open()


def test_a_broken_log_is_repaired(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = log / "log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seed":1', b'"seed":7'))
    assert run("repair", "--yes", folder=log) == 0
    out = capsys.readouterr().out
    assert "records up to 2 stay as they are" in out
    assert "3 records of the rest are written again, as record 3 tells" in out
    assert run("verify", folder=log) == 0
    capsys.readouterr()
    run("tail", folder=log)
    assert "repair" in capsys.readouterr().out
    with pytest.raises(NotFound, match="nothing to repair"):
        run("repair", "--yes", folder=log)


def test_redact_asks_and_then_says_so(
    log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("redact", 2, "--yes", folder=log) == 0
    assert capsys.readouterr().out.startswith("record 2 is redacted; record 6 says so\n")
    assert run("verify", folder=log) == 0
    assert "redacted: 2" in capsys.readouterr().out
    run("replay", 2, folder=log)
    assert "because its text was redacted" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with pytest.raises(typer.Abort):
        run("redact", 3, folder=log)
    assert "redacted" not in json.loads((log / "log.jsonl").read_bytes().splitlines()[2])


def test_a_receipt_is_checked_in_every_form(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("show", 3, "--json", folder=log)
    digest = json.loads(capsys.readouterr().out)["hash"]
    (tmp_path / "receipt").write_text(json.dumps({"receipt": {"seq": 3, "hash": digest}}))
    for form in (json.dumps({"seq": 3, "hash": digest}), f"3:{digest}", tmp_path / "receipt"):
        assert run("check-receipt", form, folder=log) == 0
    with pytest.raises(ChainBroken, match="^logs/: record 2 is not the receipt's"):
        run("check-receipt", f"2:{digest}", folder=log)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for nonsense in ("nonsense", "[" * 5000, tmp_path / "binary"):
        with pytest.raises(InvalidRequest, match="receipt"):
            run("check-receipt", nonsense, folder=log)
    assert run("check-receipt", f"2:{digest}", "--json", folder=log) == 1


def test_keys_are_made_sign_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, folder = tmp_path / "my.key", tmp_path / "logs"
    assert run("keygen", key) == 0
    assert str(key) in capsys.readouterr().out
    vault = Vault(folder, signing_key=key)
    vault.open()
    write(vault, "a")
    vault.close()
    assert run("verify", "--public-key", f"{key}.pub", folder=folder) == 0
    assert "signed checkpoint vouches for record 1" in capsys.readouterr().out
    with pytest.raises(CannotStart, match="no keys were made"):
        run("keygen", key)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-45", "2026-1-5", "2026-11-23T10:30Z", ""])
def test_what_is_no_time_is_refused(text: str, log: Path) -> None:
    for option in ("--since", "--until"):
        with pytest.raises(InvalidRequest, match=f"{option[2:]}: is a time"):
            run("search", option, text, folder=log)


@pytest.mark.parametrize("text", ["2026", "2026-11", "2026-02-28", "2026-11-23 10:30"])
def test_the_beginning_of_a_time_is_one(text: str, log: Path) -> None:
    assert run("search", "--since", text, "--until", "2999", folder=log) in (0, 1)


def test_an_unknown_finish_reason_is_refused(log: Path) -> None:
    with pytest.raises(typer.BadParameter, match="'finished' is not one of"):
        run("search", "--finish-reason", "finished", folder=log)


def test_an_export_that_cannot_be_written_is_said_in_one_line(log: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="nowhere.*: No such file or directory"):
        run("export", "-o", tmp_path / "nowhere" / "x.csv", folder=log)


def test_a_line_that_is_no_record_is_said_in_one_line(log: Path) -> None:
    with (log / "log.jsonl").open("ab") as file:
        file.write(b"no record\n")
    with pytest.raises(ChainBroken, match="^the log: a line in it is no record"):
        run("tail", folder=log)


def test_no_log_is_said_in_one_line(tmp_path: Path) -> None:
    for command in ("tail", "stats", "verify"):
        with pytest.raises(CannotStart, match="there is no log in"):
            run(command, folder=tmp_path / "nowhere")
    assert not os.path.exists(tmp_path / "nowhere")
