"""As many connections fit as places are promised, or the start says which limit is in the way."""

from __future__ import annotations

import pytest

from minivault.errors import CannotStart
from minivault.loading import ModelLoading
from minivault.open_files import shortage
from minivault.settings import Settings
from minivault.stage import Stage

UPSTREAM = ["http://127.0.0.1:9000", "http://127.0.0.1:9001"]


@pytest.mark.parametrize(
    "settings, possible, told",
    [
        (Settings(), 4096, None),
        (Settings(), 960, "960 connections fit where 4096 are meant to: ulimit -n 4160"),
        (Settings(max_running=10_000, max_waiting=500), 10_756, None),
        (Settings(max_running=10_000, max_waiting=500), 10_600, "where 10756 are meant to"),
        (Settings(upstream=UPSTREAM, upstream_limit=4000), 8288, None),
    ],
)
def test_what_is_meant_to_fit_goes_by_the_places(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, possible: int, told: str | None
) -> None:
    monkeypatch.setattr("minivault.open_files.connection_limit", lambda _: possible)
    found = shortage(settings)
    assert told in found if told and found else found == told


def test_fewer_than_are_promised_keep_it_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minivault.open_files.connection_limit", lambda _: 4096)
    with pytest.raises(CannotStart, match="ulimit -n 10564, or smaller --max-running"):
        shortage(Settings(max_running=10_000, max_waiting=500))


def test_upstream_servers_make_as_many_texts_as_they_take() -> None:
    assert Settings(upstream=UPSTREAM, upstream_limit=100).most_running == 200
    assert Settings(upstream=UPSTREAM, max_running=5).most_running == 5
    assert Settings().most_running == 32


def test_a_model_in_this_process_makes_no_more_than_a_batch_holds() -> None:
    with pytest.raises(CannotStart, match="at most 256 texts at once"):
        ModelLoading(Settings(max_running=257), Stage()).choose()
