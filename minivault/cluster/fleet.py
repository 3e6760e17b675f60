"""What a fleet of replicas is, and what Ray Serve and its HAProxy are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.errors import FieldError, InvalidRequest
from minivault.settings import Settings

APPLICATION = "minivault"
DEPLOYMENT = "MiniVault"

#: Seconds that a replica stays reachable while HAProxy learns that it leaves.
_LEAVING = 10

#: Seconds beyond the longest stream after which an HAProxy that was replaced ends its connections.
_MARGIN = 30

#: Requests that Serve lets into a replica; MiniVault has a queue of its own and tells the place.
_ONGOING = 2000


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many replicas: `replicas`, or as many as the work wants, up to `most`.

    `longest_stream` is for how many seconds a replica that is replaced may finish its texts.
    """

    replicas: int = 2
    most: int | None = None
    longest_stream: float = 300.0

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if self.most is not None and self.most < self.replicas:
            wrong = f"{self.most} is fewer than --replicas {self.replicas}"
            raise InvalidRequest([FieldError("--max-replicas", wrong)])

    @property
    def largest(self) -> int:
        """The most replicas that serve at once."""
        return self.most or self.replicas


def deployment_options(fleet: Fleet, settings: Settings, *, cores: float) -> dict[str, Any]:
    """Options of the deployment, as `serve.deployment` and Serve's configuration file name them.

    `cores`: how many of its node's each replica is counted with.
    """
    options: dict[str, Any] = {
        "max_ongoing_requests": _ONGOING,
        "max_queued_requests": -1,
        "graceful_shutdown_timeout_s": fleet.longest_stream,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": 2,
        "health_check_timeout_s": 10,
        "ray_actor_options": {"num_cpus": cores},
    }
    if fleet.most is None:
        return options | {"num_replicas": fleet.replicas}
    return options | {
        "autoscaling_config": {
            "min_replicas": fleet.replicas,
            "max_replicas": fleet.most,
            # Up before the line begins, which each replica has at its end.
            "target_ongoing_requests": max(1, settings.most_running * 3 // 4),
            "upscale_delay_s": 5,
            "downscale_delay_s": 300,
            "metrics_interval_s": 1,
            "look_back_period_s": 5,
        }
    }


def http_options(host: str, port: int) -> dict[str, Any]:
    """Of the ingress. A stream may take as long as it wants: no time-out for requests."""
    return {"host": host, "port": port, "request_timeout_s": None}


def environment(fleet: Fleet, *, leaving: int = _LEAVING) -> Mapping[str, str]:
    """Variables of every process of Ray, on every node.

    `leaving`: seconds that a replica stays reachable while HAProxy learns that it leaves.
    """
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray would let everything else on the machine go before the replicas.
        "RAY_worker_niceness": "0",
        # Each replica listens itself and HAProxy hands bytes on: no Ray on a token's way.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # In the server's own loop: through another thread each event is handed on by a queue that
        # has no end, however slowly the reader reads.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        # Its lines hold the whole query, and so the prompt: for a log, and for Ray's metrics.
        "RAY_SERVE_HAPROXY_LOG_TARGET": "/dev/null",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # Whose replica dies before it says a word is answered by another (POST apart).
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "5",
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        # An HAProxy that was replaced cuts no stream before it may have come to its end.
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(int(fleet.longest_stream) + _MARGIN),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(leaving),
    }
