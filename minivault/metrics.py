"""What MiniVault measures, as Prometheus reads it; names follow vLLM's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from minivault.schemas import Client, FinishReason

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "minivault_"


class Description(NamedTuple):
    """A metric as the documentation lists it."""

    name: str
    help: str


# Counted and timed by MiniVault itself.
EVENTS = (
    Description("minivault_requests_accepted_total", "Requests accepted, by the client's door."),
    Description("minivault_requests_refused_total", "Requests refused, by reason."),
    Description("minivault_requests_finished_total", "Generations that ended, by finish reason."),
    Description("minivault_requests_resumed_total", "Followers that came back for the rest."),
    Description("minivault_requests_continued_total", "Generations that were run again to go on."),
    Description("minivault_prompt_tokens_total", "Tokens of the prompts of ended generations."),
    Description("minivault_generation_tokens_total", "Tokens made by ended generations."),
    Description("minivault_time_to_first_token_seconds", "From acceptance to the first token."),
    Description("minivault_time_per_output_token_seconds", "Between two tokens of a generation."),
    Description("minivault_request_queue_time_seconds", "From acceptance to a place."),
    Description("minivault_e2e_request_latency_seconds", "From acceptance to the end."),
)
# Read from their source when they are asked for; a source may give others besides.
READINGS = (
    Description("minivault_num_requests_running", "Generations that run."),
    Description("minivault_num_requests_waiting", "Generations that wait for a place."),
    Description("minivault_num_followers", "Responses that read a generation."),
    Description("minivault_num_kept", "Ended generations that can still be read."),
    Description("minivault_vault_writes_total", "Writes to the log and the journal."),
    Description("minivault_vault_failures_total", "Writes that failed."),
    Description("minivault_vault_bytes_total", "Bytes written to the log."),
    Description("minivault_vault_seq", "The last record's sequence number."),
    Description("minivault_vault_open", "Begun records without an end."),
    Description("minivault_vault_unwritten", "Ended records that could not be written yet."),
    Description("minivault_vault_unshipped", "Records not shipped yet."),
    Description("minivault_vault_unshipped_seconds", "For how long there have been such."),
    Description("minivault_vault_unwitnessed", "Records that a witness has not signed."),
    Description("minivault_vault_unwitnessed_seconds", "For how long there have been such."),
    Description("minivault_engine_running", "Sequences in the batch."),
    Description("minivault_engine_waiting", "Sequences that wait for the engine."),
    Description("minivault_engine_kv_bytes", "Memory of keys and values in use."),
    Description("minivault_engine_kv_limit_bytes", "Memory that keys and values may use."),
    Description("minivault_engine_steps_total", "Steps of the engine."),
    Description("minivault_engine_tokens_total", "Tokens that the engine made."),
    Description("minivault_engine_step_seconds_total", "Time spent in steps."),
    Description("minivault_engine_last_step_seconds", "Time of the last step."),
    Description(
        "minivault_engine_schema_seconds_total",
        "Time that texts waited for what their schemas allow.",
    ),
    Description("minivault_engine_batch_size", "Sequences in the last step."),
    Description("minivault_engine_prefix_hits_total", "Tokens of prompts that were kept."),
    Description(
        "minivault_engine_prefix_misses_total",
        "Tokens of prompts that were computed.",
    ),
    Description("minivault_engine_prefix_bytes", "Memory of the kept beginnings."),
    Description("minivault_engine_large_pages", "Share of the weights that lie in large pages."),
    Description("minivault_engine_drafted_total", "Tokens that were guessed ahead."),
    Description("minivault_engine_accepted_total", "Those of them that were right."),
    Description("minivault_warnings", "Sentences that /health warns with."),
    Description("minivault_terminal_lines_lost_total", "Lines left out: nobody read the terminal."),
)
# Of the operating system, by prometheus_client; only where there is a /proc.
PROCESS = (
    Description("process_resident_memory_bytes", "Resident memory size in bytes."),
    Description("process_open_fds", "Number of open file descriptors."),
)
METRICS = (*EVENTS, *READINGS, *PROCESS)

_HELP = {each.name: each.help for each in METRICS}


def one_two_five(lowest: float, highest: float) -> tuple[float, ...]:
    """Bucket bounds 1, 2, 5, 10, … times the lowest, up to the highest."""
    bounds = []
    decade = lowest
    while decade <= highest:
        bounds += [float(f"{decade * step:.3g}") for step in (1, 2, 5)]
        decade *= 10
    return tuple(bound for bound in bounds if bound <= highest)


class Metrics:
    """The counters and histograms of one server, in a registry of its own.

    The methods may be called from any thread; each takes about a microsecond.
    """

    def __init__(self) -> None:
        # They double the page, and no dashboard reads them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations
        self._registry = CollectorRegistry()
        self._accepted = self._counter("requests_accepted_total", "client")
        self._refused = self._counter("requests_refused_total", "reason")
        self._finished = self._counter("requests_finished_total", "finished_reason", "client")
        self.resumed = self._counter("requests_resumed_total").inc
        self.continued = self._counter("requests_continued_total").inc
        self._prompt_tokens = self._counter("prompt_tokens_total")
        self._generation_tokens = self._counter("generation_tokens_total")
        # These two take seconds.
        self.first_token = self._histogram("time_to_first_token_seconds", 0.001, 100).observe
        self.between_tokens = self._histogram("time_per_output_token_seconds", 0.0001, 1).observe
        self._queue_time = self._histogram("request_queue_time_seconds", 0.001, 100)
        self._latency = self._histogram("e2e_request_latency_seconds", 0.01, 1000)
        ProcessCollector(registry=self._registry)

    def bind(self, source: Callable[[], Mapping[str, float]]) -> None:
        """Adds what is read when it is asked for, by its name without `minivault_`.

        Names have letters, digits and underscores. One that READINGS lists with `_total` is a
        counter, every other a gauge. `source` must not block.
        """
        self._registry.register(_Readings(source))

    def refused(self, reason: str) -> None:
        """`reason` is one of a few words of the code's own, never the client's."""
        self._refused.labels(reason).inc()

    def accepted(self, client: Client) -> None:
        self._accepted.labels(client).inc()

    def finished(
        self,
        reason: FinishReason,
        client: Client,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        queue_seconds: float,
        total_seconds: float,
    ) -> None:
        self._finished.labels(reason, client).inc()
        self._prompt_tokens.inc(prompt_tokens)
        self._generation_tokens.inc(completion_tokens)
        self._queue_time.observe(queue_seconds)
        self._latency.observe(total_seconds)

    def render(self) -> bytes:
        """The text format that Prometheus scrapes; its type is `MEDIA_TYPE`."""
        return generate_latest(self._registry)

    def _counter(self, name: str, *labels: str) -> Counter:
        full = PREFIX + name
        return Counter(full, _HELP[full], labels, registry=self._registry)

    def _histogram(self, name: str, lowest: float, highest: float) -> Histogram:
        full = PREFIX + name
        buckets = one_two_five(lowest, highest)
        return Histogram(full, _HELP[full], buckets=buckets, registry=self._registry)


class _Readings(Collector):
    """The gauges of one source, read at each scrape."""

    def __init__(self, source: Callable[[], Mapping[str, float]]) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        for name, value in self._source().items():
            total = f"{PREFIX}{name}_total"
            if total in _HELP:
                yield CounterMetricFamily(total, _HELP[total], value=value)
            else:
                help = _HELP.get(PREFIX + name, name.replace("_", " "))
                yield GaugeMetricFamily(PREFIX + name, help, value=value)

    def describe(self) -> Iterator[Metric]:
        """Nothing: without this, registering would read the source before it is ready."""
        return iter(())
