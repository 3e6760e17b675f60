"""Figures are what was measured, no more."""

from __future__ import annotations

import os

import pytest

from minivault.bench.bandwidth import read_bandwidth
from minivault.bench.figures import Wave, figures, percentile
from minivault.bench.machine import describe, sentence
from minivault.bench.memory import resident_memory
from minivault.bench.report import COLUMNS, cells, markdown


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 50) == 3.0
    assert percentile(values, 95) == 5.0
    assert percentile(values, 20) == 1.0
    assert percentile([7.0], 50) == 7.0


def test_speed_is_the_median_of_the_waves() -> None:
    waves = [Wave(((0.0,),), tokens=10, seconds=seconds) for seconds in (1.0, 2.0, 10.0)]
    assert figures(waves).tokens_per_second == 5.0


def test_times_between_tokens_never_cross_from_one_text_to_the_next() -> None:
    found = figures([Wave(((0.1, 0.2, 0.3), (5.0, 5.1)), tokens=5, seconds=5.1)])
    assert found.at_once == 2
    assert found.between_p95 == 100.0
    assert (found.first_token_p50, found.first_token_p95) == (100.0, 5000.0)


def test_a_text_without_a_token_leaves_the_times_alone() -> None:
    found = figures([Wave(((0.1, 0.2), ()), tokens=2, seconds=1.0)])
    assert found.at_once == 2
    assert found.first_token_p95 == 100.0


def test_memory_grows_by_what_is_allocated() -> None:
    before = resident_memory(os.getpid())
    held = bytearray(64 * 2**20)
    assert resident_memory(os.getpid()) - before > 32 * 2**20
    assert len(held) == 64 * 2**20


def test_the_memory_of_a_process_that_is_not_there_is_no_number() -> None:
    with pytest.raises(OSError, match="no process"):
        resident_memory(2**22 + 1)


def test_bandwidth_is_measured_with_any_number_of_threads() -> None:
    assert read_bandwidth(2, seconds=0.01, size=2**20) > 0


def test_the_machine_is_described_in_one_line() -> None:
    line = sentence(describe())
    assert "\n" not in line
    assert "cores" in line
    assert "Python 3" in line


def test_a_row_has_a_cell_for_every_column() -> None:
    row = {
        "what": "engine",
        "dtype": "int8",
        "at_once": 1,
        "tokens_per_second": 1.0,
        "first_token_p50": 1.0,
        "first_token_p95": 1.0,
        "between_p50": 1.0,
        "between_p95": 1.0,
        "memory_mb": 1,
        "share": 0.5,
    }
    assert len(cells(row)) == len(COLUMNS)
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
