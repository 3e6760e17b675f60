"""The contest with the others: who is missing is named, ratios are of alikes, pages are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.__main__ import main
from benchmarks.peers.contenders import CONTENDERS, ENGINE, PIPELINE, SERVER
from benchmarks.peers.contest import Contest, pipeline_ratios, ratios
from benchmarks.peers.formats import Models
from benchmarks.peers.order import Order
from benchmarks.peers.tables import in_markdown, in_terminal
from benchmarks.peers.venv import PeersVenv
from benchmarks.results import PAGE, SECTIONS, replaced
from minivault.bench.machine import describe
from minivault.bench.workload import Workload


def row(name: str, width: str, batch: int, speed: float) -> dict[str, Any]:
    return {
        "name": name,
        "width": width,
        "own_width": width,
        "batch": batch,
        "tokens_per_second": speed,
    }


def test_a_ratio_is_against_the_fastest_other_of_the_same_width_and_batch() -> None:
    rows = [
        row(ENGINE, "int8", 1, 300.0),
        row("llama.cpp", "int8", 1, 200.0),
        row("CTranslate2", "int8", 1, 100.0),
        row("CTranslate2", "int8", 8, 900.0),
        row("CTranslate2", "float32", 1, 900.0),
        row(SERVER, "int8", 1, 900.0),
    ]
    assert ratios(rows)[0] == {
        "name": ENGINE,
        "width": "int8",
        "batch": 1,
        "ratio": 1.5,
        "fastest": "llama.cpp",
    }


def test_nobody_is_compared_where_nobody_else_was_measured() -> None:
    assert ratios([row(ENGINE, "int8", 1, 300.0)]) == []
    assert pipeline_ratios([row(PIPELINE, "int8", 1, 3.0), row(SERVER, "float32", 1, 30.0)]) == []


def test_the_server_is_compared_with_a_pipeline_in_threads() -> None:
    rows = [row(PIPELINE, "float32", 16, 40.0), row(SERVER, "float32", 16, 800.0)]
    assert [each["ratio"] for each in pipeline_ratios(rows)] == [20.0]


def test_every_other_is_measured_at_each_width_that_it_has() -> None:
    widths = {each.name: set() for each in CONTENDERS}  # type: dict[str, set[str]]
    for each in CONTENDERS:
        widths[each.name].add(each.width)
    assert widths[ENGINE] == widths[SERVER] == {"float32", "bfloat16", "int8"}
    assert widths["llama.cpp"] == {"float32", "bfloat16", "int8"}
    assert {"CTranslate2", "transformers generate", "transformers serve", PIPELINE} <= set(widths)


def test_who_cannot_be_installed_is_named_with_the_reason(tmp_path: Path) -> None:
    class Refusing(PeersVenv):
        def install(self, module: str) -> str | None:
            return f"no {module} today"

    venv = Refusing(tmp_path / "venv")
    chosen = [each for each in CONTENDERS if each.name in ("llama.cpp", "CTranslate2")]
    models = Models(tmp_path / "models", "tiny", Path(sys.executable))
    order = Order("", "", 1, (1,), "a", (1,), Workload(new_tokens=2))
    contest = Contest(chosen, order, models, venv)
    contest.install()
    contest.run(1, lambda *_: None)
    assert contest.missing["llama.cpp, Q8_0"] == "no gguf today"
    assert contest.missing["CTranslate2, int8"] == "no ctranslate2 today"
    assert contest.rows() == []


@pytest.mark.slow
def test_a_small_contest_ends_with_figures_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--shape", "tiny", "--dtype", "float32", "--batches", "2", "--rounds", "1"]
    main([*small, "--tokens", "8", "--only", "minivault", "--only", "generate", "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["missing"] == {}
    assert {each["name"] for each in result["rows"]} == {ENGINE, SERVER, "transformers generate"}
    assert all(each["tokens_per_second"] > 0 for each in result["rows"])
    assert {each["name"] for each in result["ratios"]} == {ENGINE, SERVER}


def test_tables_show_rows_ratios_and_who_is_missing() -> None:
    rows = [row(ENGINE, "int8", 1, 300.0), row("llama.cpp", "int8", 1, 200.0)]
    result = {
        "machine": describe(),
        "shape": "tiny",
        "threads": 1,
        "rounds": 1,
        "workload": Workload().fields(),
        "rows": rows,
        "ratios": ratios(rows),
        "pipeline_ratios": [],
        "missing": {"CTranslate2, int8": "no wheel"},
    }
    page = in_markdown(result)
    assert "| llama.cpp | int8 | 200 |" in page
    assert f"| {ENGINE} | int8 | 1.50 (llama.cpp) |" in page
    assert "Missing: CTranslate2, int8: no wheel" in page
    assert len(in_terminal(result)) == 4


def test_a_section_of_the_page_is_replaced_and_nothing_else() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for section in SECTIONS:
        new = replaced(page, section, "| new |")
        assert "| new |" in new
        assert section.shown in new
        before, after = page.split(f"<!-- begin {section.name} -->", 1)
        assert new.startswith(before)
        assert new.endswith(after.split(f"<!-- end {section.name} -->", 1)[1])
    with pytest.raises(ValueError, match="no section"):
        replaced("nothing", SECTIONS[0], "new")


def test_an_unknown_section_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks.results", "nothing"]
    done = subprocess.run(
        command, cwd=PAGE.parents[1], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "no section nothing" in done.stderr
