"""The contest with the others: who is missing is named, ratios are of alikes, pages are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import targets
from benchmarks.peers.__main__ import main
from benchmarks.peers.contenders import (
    ENGINE,
    LLAMA,
    PIPELINE,
    SERVER,
    TYPES,
    Contender,
    of_a_file,
    of_a_shape,
)
from benchmarks.peers.contest import Contest, llama_ratios, pipeline_ratios, ratios
from benchmarks.peers.formats import Models, RandomShape
from benchmarks.peers.order import Order, Task, Times, answer, by_difference, parse_task
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
        "figure": f"{batch} at once",
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
        "own_width": "int8",
        "figure": "1 at once",
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
    def widths(contenders: list[Contender]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for each in contenders:
            found.setdefault(each.name, set()).add(each.width)
        return found

    shape, file = widths(of_a_shape()), widths(of_a_file())
    assert shape[ENGINE] == shape[SERVER] == shape[LLAMA] == {"float32", "bfloat16", "int8"}
    assert file[ENGINE] == file[SERVER] == file[LLAMA] == set(TYPES)
    assert {"CTranslate2", "transformers generate", "vLLM"} <= set(shape) & set(file)
    assert {"transformers serve", PIPELINE} <= set(shape)


def test_a_task_is_named_and_tells_what_it_measures() -> None:
    assert parse_task("8", 120) == Task(8, 32, 120)
    assert parse_task("8", 120).figures == ["8 at once"]
    assert parse_task("prefill512", 120).figures == ["prefill 512"]
    assert parse_task("1@2000", 120).figures == ["prefill 2000", "1 at once after 2000"]
    assert parse_task("8@2000", 120).figures == ["8 at once after 2000"]
    with pytest.raises(ValueError, match="invalid literal"):
        parse_task("many", 120)


def test_figures_are_tokens_over_their_own_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    tasks = (parse_task("2", 11), parse_task("1@2000", 11))
    order = Order("", "", 1, tasks, "a", (1,), Workload())
    answer(order, lambda task: Times(4.0, 2.0, task.at_once * (task.new_tokens - 1)))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["figure"]: each["tokens_per_second"] for each in told} == {
        "2 at once": 10.0,
        "prefill 2000": 500.0,
        "1 at once after 2000": 5.0,
    }


def test_who_gives_whole_texts_alone_is_measured_by_the_difference() -> None:
    asked = []

    def generate(task: Task) -> int:
        asked.append(task.new_tokens)
        return task.at_once * task.new_tokens

    assert by_difference(generate)(Task(2, 32, 11)).tokens == 20
    assert asked == [1, 11]


def test_every_figure_has_its_target() -> None:
    assert targets.ratio("int8", "8 at once after 2000", avx2=False) == 2.2
    assert targets.ratio("int8", "1 at once after 2000", avx2=False) is None
    for width in TYPES:
        assert all(targets.ratio(width, each, avx2=True) == 1.0 for each in targets.FIGURES)
        assert all(targets.ratio(width, each, avx2=False) for each in targets.FIGURES)


def test_who_cannot_be_installed_is_named_with_the_reason(tmp_path: Path) -> None:
    class Refusing(PeersVenv):
        def install(self, module: str) -> str | None:
            return f"no {module} today"

    venv = Refusing(tmp_path / "venv")
    chosen = [each for each in of_a_shape() if each.name in ("llama.cpp", "CTranslate2")]
    models = Models(tmp_path / "models", RandomShape("tiny"), Path(sys.executable))
    order = Order("", "", 1, (Task(1, 32, 2),), "a", (1,), Workload(new_tokens=2))
    contest = Contest(chosen, order, models, venv)
    contest.prepare()
    contest.run(1, lambda *_: None)
    assert contest.missing["llama.cpp, Q8_0"] == "no gguf today"
    assert contest.missing["CTranslate2, int8"] == "no ctranslate2 today"
    assert contest.rows() == []


@pytest.mark.slow
def test_a_small_contest_ends_with_figures_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--shape", "tiny", "--dtype", "float32", "--tasks", "2", "--rounds", "1"]
    main([*small, "--tokens", "100", "--only", "minivault", "--only", "generate", "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["missing"] == {}
    names = {each["name"] for each in result["rows"]}
    assert names == {ENGINE, SERVER, "transformers generate"}
    ours = [row for row in result["rows"] if row["name"] in (ENGINE, SERVER)]
    assert all(row["tokens_per_second"] > 0 for row in ours)  # the other's is a small difference
    assert {each["name"] for each in result["ratios"]} == {ENGINE, SERVER}


def test_tables_show_rows_ratios_targets_and_who_is_missing() -> None:
    rows = [row(ENGINE, "int8", 1, 300.0), row(ENGINE, "int8", 8, 900.0)]
    rows += [row(LLAMA, "int8", 1, 200.0), row(LLAMA, "int8", 8, 600.0)]
    result = {
        "machine": describe(),
        "model": "a model",
        "avx2": False,
        "threads": 1,
        "rounds": 1,
        "bandwidth_gb_s": 40.0,
        "megabytes": {"int8": 100.0},
        "workload": Workload().fields(),
        "rows": rows,
        "ratios": ratios(rows),
        "llama_ratios": llama_ratios(rows),
        "pipeline_ratios": [],
        "missing": {"CTranslate2, int8": "no wheel"},
    }
    page = in_markdown(result)
    assert "| llama.cpp | int8 | 200 | 600 |" in page
    assert f"| {ENGINE} | int8 | 1.50 (≥ 1.15) | **1.50 (≥ 2.30)** |" in page
    assert f"| {ENGINE} | int8 | 100 | 400 | 75% (≥ 75%) |" in page
    assert "| llama.cpp | int8 | 100 | 400 | 50% |" in page
    assert "Missing: CTranslate2, int8: no wheel" in page
    assert len(in_terminal(result)) == 5
    result["rows"] = [*rows, row("CTranslate2", "int8", 1, 100.0)]
    assert f"| {ENGINE} | int8 | 1.50 (llama.cpp) | 1.50 (llama.cpp) |" in in_markdown(result)


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
