"""A record is read back by everybody as it was written."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minivault.vault import Vault
from minivault.vault.record import clean, dump, render
from minivault.vault.verify import verify
from tests.tools import tool
from tests.vault.samples import begin, outcome, write

TEXT = st.text(st.characters(), max_size=200)
NASTY = '\0\u2028\u2029\x85\x1b[31m\r\n"\\\ud800x\udc00\U0001f600\ufeff' + "\\ud800"


@example(NASTY)
@given(TEXT)
def test_any_text_is_one_line_of_ascii_and_comes_back(text: str) -> None:
    line = render({"timestamp": "t", "prompt": text, "response": text, "salt": "s"}) + b"}"
    assert line.isascii()
    assert b"\n" not in line
    assert json.loads(line)["prompt"] == clean(text)
    assert dump(json.loads(line)) == line


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([NASTY, "", "123", "007", "2026-11-23", "null", "1" * 1_000_000])
@given(st.lists(TEXT, min_size=1, max_size=20))
def test_jq_pandas_and_json_read_the_same(texts: list[str]) -> None:
    import pandas  # half a second, and only here

    data = b"".join(
        render({"timestamp": f"2026-11-23T00:00:00.{number:03}Z", "prompt": text, "response": ""})
        + b',"seq":%d}\n' % number
        for number, text in enumerate(texts)
    )
    expected = [clean(text) for text in texts]
    by_json = [json.loads(line)["prompt"] for line in data.split(b"\n")[:-1]]
    frame = pandas.read_json(io.BytesIO(data), lines=True, dtype=False)
    jq = subprocess.run([tool("jq"), "-c", ".prompt"], input=data, capture_output=True, check=True)
    by_jq = [json.loads(line) for line in jq.stdout.split(b"\n")[:-1]]
    assert by_json == expected
    assert list(frame["prompt"]) == expected
    assert by_jq == expected


def test_text_of_any_kind_goes_through_the_vault(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    entry = vault.begin(begin("a", NASTY)).result(60)
    vault.pieces([(entry, NASTY), (entry, "y" * 1_000_000)])
    vault.commit(entry, outcome(NASTY + "y" * 1_000_000)).result(60)
    left = vault.begin(begin("b", NASTY)).result(60)
    vault.pieces([(left, NASTY)])
    vault.close()
    again = Vault(tmp_path)
    assert again.open() == 1
    first, second = again.find("a")[0], again.find("b")[0]
    again.close()
    verify(tmp_path)
    assert first.response == clean(NASTY) + "y" * 1_000_000
    assert (first.prompt, second.prompt, second.response) == (clean(NASTY),) * 3


def test_numbers_that_json_does_not_have_become_null(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    entry = vault.begin(begin("a")).result(60)
    vault.commit(entry, outcome("x", logprobs=[float("-inf"), 1.5])).result(60)
    vault.close()
    line = (tmp_path / "log.jsonl").read_bytes()
    assert json.loads(line)["logprobs"] == [None, 1.5]


def test_the_timestamp_is_utc_with_milliseconds(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    write(vault, "a")
    vault.close()
    timestamp = json.loads((tmp_path / "log.jsonl").read_bytes())["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
