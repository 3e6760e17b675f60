"""A fleet on paper adds up, and its queues behave as queues do."""

from __future__ import annotations

import pytest

from benchmarks import fleet
from benchmarks.fleet import Figures, Fleet, simulate


def test_what_one_replica_does_is_multiplied() -> None:
    figures = Figures()
    ten, cells = Fleet(10, 1, figures), Fleet(10_000, 80, figures)
    assert ten.tokens == 10_600
    assert ten.records == pytest.approx(88.3, abs=0.1)
    assert ten.proxy_cores == pytest.approx(0.212)
    assert ten.first_trouble() == "nothing"
    assert cells.proxies == 16
    assert cells.checks == 400
    assert "health checks" in Fleet(10_000, 1, figures).first_trouble()
    assert "hash `key`" in cells.first_trouble()


def test_the_simulated_queue_is_erlangs() -> None:
    """The share that waits in an M/M/c queue is known: Erlang's C formula."""
    found = simulate(2, Figures(load=0.5))
    assert found.share == pytest.approx(1 / 3, abs=0.02)
    assert found.p99 > 0
    assert simulate(32, Figures(load=0.5)).share < 0.01


def test_both_tables_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_TEXTS", 100)
    fleet.main(["--tokens", "2000", "--price", "1"])
    told = capsys.readouterr().out
    assert "| 10000 in 80 cells | 20 M |" in told
    assert "| 90% |" in told
