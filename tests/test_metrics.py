"""What /metrics says: the names, the numbers, and what a reading costs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from minivault.metrics import EVENTS, METRICS, READINGS, Metrics, one_two_five
from minivault.schemas import Client, FinishReason


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by name and label values, read back by Prometheus' own parser."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def finish(metrics: Metrics, reason: FinishReason = FinishReason.LENGTH) -> None:
    metrics.finished(
        reason,
        Client.SSE,
        prompt_tokens=3,
        completion_tokens=40,
        queue_seconds=0.004,
        total_seconds=1.5,
    )


def test_an_ended_generation_is_counted_once_with_its_reason_tokens_and_times() -> None:
    metrics = Metrics()
    finish(metrics)
    finish(metrics, FinishReason.STOP)
    seen = samples(metrics)
    assert seen["minivault_requests_finished_total", ("sse", "length")] == 1
    assert seen["minivault_requests_finished_total", ("sse", "stop")] == 1
    assert seen["minivault_prompt_tokens_total", ()] == 6
    assert seen["minivault_generation_tokens_total", ()] == 80
    assert seen["minivault_e2e_request_latency_seconds_sum", ()] == 3.0
    assert seen["minivault_request_queue_time_seconds_bucket", ("0.002",)] == 0
    assert seen["minivault_request_queue_time_seconds_bucket", ("0.005",)] == 2


def test_requests_are_counted_by_their_verdict() -> None:
    metrics = Metrics()
    metrics.accepted(Client.JSON)
    metrics.refused("host")
    metrics.refused("host")
    metrics.resumed()
    metrics.continued()
    seen = samples(metrics)
    assert seen["minivault_requests_accepted_total", ("json",)] == 1
    assert seen["minivault_requests_refused_total", ("host",)] == 2
    assert seen["minivault_requests_resumed_total", ()] == 1
    assert seen["minivault_requests_continued_total", ()] == 1


def test_times_of_tokens_fall_into_their_buckets() -> None:
    metrics = Metrics()
    metrics.first_token(0.3)
    metrics.between_tokens(0.02)
    seen = samples(metrics)
    assert seen["minivault_time_to_first_token_seconds_bucket", ("0.2",)] == 0
    assert seen["minivault_time_to_first_token_seconds_bucket", ("0.5",)] == 1
    assert seen["minivault_time_per_output_token_seconds_bucket", ("0.02",)] == 1


def test_gauges_are_read_at_each_scrape_and_not_before() -> None:
    metrics = Metrics()
    readings: list[Mapping[str, float]] = [
        {"num_requests_running": 2, "vault_writes": 5},
        {"num_requests_running": 7, "vault_writes": 6},
    ]
    metrics.bind(lambda: readings.pop(0))
    assert len(readings) == 2
    first, second = samples(metrics), samples(metrics)
    assert first["minivault_num_requests_running", ()] == 2
    assert second["minivault_num_requests_running", ()] == 7
    assert second["minivault_vault_writes_total", ()] == 6


def test_two_servers_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.resumed()
    assert samples(other)["minivault_requests_resumed_total", ()] == 0


def test_every_listed_metric_is_there_and_nothing_else_of_our_own() -> None:
    metrics = Metrics()
    names = [each.name.removeprefix("minivault_").removesuffix("_total") for each in READINGS]
    metrics.bind(lambda: dict.fromkeys(names, 0.0))
    found = set(re.findall(r"^# HELP (\S+)", metrics.render().decode(), re.MULTILINE))
    ours = {name for name in found if name.startswith("minivault_")}
    assert ours == {each.name for each in METRICS if each.name.startswith("minivault_")}
    assert {each.name for each in EVENTS} <= found
    assert all(each.help.endswith(".") for each in METRICS)


def test_buckets_go_one_two_five() -> None:
    assert one_two_five(0.01, 1) == (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs a /proc")
def test_resident_memory_is_reported() -> None:
    assert samples(Metrics())["process_resident_memory_bytes", ()] > 1_000_000
