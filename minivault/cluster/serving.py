"""Ray and Serve on this machine, in the care of the process that starts them."""

from __future__ import annotations

import logging
import queue
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from minivault.cluster.fleet import (
    APPLICATION,
    DEPLOYMENT,
    Fleet,
    deployment_options,
    http_options,
)
from minivault.errors import CannotStart, in_short
from minivault.settings import Settings

NO_RAY = "Ray Serve is not installed: pip install 'minivault[cluster]'"

#: Seconds between two looks at how many replicas serve: each takes Ray time that replicas want.
_LOOK = 3.0

#: Where everything listens but HAProxy's front, which is told its address on its own.
_OWN = "127.0.0.1"

_OBJECT_STORE = 100 * 2**20  # bytes: nothing of MiniVault's goes there; Ray wants as much


def say(line: str) -> None:
    """Tells the user; `sys.stdout` is Ray's, which has much to say of every process that ends."""
    print(line, file=sys.__stdout__, flush=True)


class Cluster:
    """Ray and Serve in this process's care. Raises CannotStart where no replica comes up."""

    def __init__(self, settings: Settings, fleet: Fleet, folder: Path) -> None:
        try:
            import ray  # reads its variables when it is imported
            from ray import serve
        except ImportError as error:
            raise CannotStart(NO_RAY) from error

        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        self._settings = settings
        self._fleet = fleet
        self._serve = serve
        try:
            ray.init(
                # Counted, not measured: room for all replicas and for those that replace them.
                num_cpus=2 * fleet.largest + 2,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                log_to_driver=False,
                logging_level="error",
                _node_ip_address=_OWN,
                _temp_dir=str(
                    folder / "ray"
                ),  # which Ray opens to every user, but not what it is in
            )
            serve.start(
                proxy_location="HeadOnly",
                http_options=http_options(_OWN, settings.port),
                logging_config={"log_level": "WARNING", "enable_access_log": False},
            )
        except Exception as error:  # what it raises is of every kind
            raise CannotStart(f"Ray did not start: {in_short(error)}") from error
        self._told: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._replacing = False
        self._handle = self._deploy()

    def _deploy(self) -> Any:
        """Puts new replicas in the place of those that serve. Returns when they do."""
        from minivault.cluster.replica import application

        options = deployment_options(self._fleet, self._settings, cores=1)
        try:
            return self._serve.run(
                application(self._settings, **options), name=APPLICATION, route_prefix="/"
            )
        except RuntimeError as error:
            raise CannotStart(f"no replica came up: {self._reason() or error}") from error

    def _reason(self) -> str:
        """The innermost error's words."""
        found = self._serve.status().applications.get(APPLICATION)
        deployments = found.deployments.values() if found else ()
        lines = [line for each in deployments for line in str(each.message).splitlines()]
        errors = [line.partition("Error: ")[2] for line in lines if "Error: " in line]
        told = [line.partition(": ")[2] for line in lines if line.startswith("minivault.errors.")]
        return (told or errors or lines or [""])[-1].strip()

    def _serving(self) -> int:
        """How many replicas serve."""
        found = self._serve.status().applications[APPLICATION].deployments[DEPLOYMENT]
        return int(found.replica_states.get("RUNNING", 0))

    def watch(self) -> None:
        """Returns at a signal to end; says meanwhile how many replicas serve. Main thread only."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._hear)
        known = None
        while True:
            if (now := self._serving()) != known:
                known = now
                say(f"replicas {known} serve")
            with suppress(queue.Empty):
                if self._told.get(timeout=_LOOK) != signal.SIGHUP or not self._replaced():
                    return

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._told.put(number)
        if self._replacing and number != signal.SIGHUP:
            raise KeyboardInterrupt

    def _replaced(self) -> bool:
        """Puts others in the place of the replicas; False if a signal to end came meanwhile."""
        say("replicas are being replaced")
        self._replacing = True
        try:
            self._handle = self._deploy()
        except KeyboardInterrupt:
            return False
        except CannotStart as error:
            say(f"replicas are not replaced: {error}")
        else:
            say("replicas are replaced")
        finally:
            self._replacing = False
        return True

    def drain(self) -> None:
        """Ends what runs, as far as `drain` allows by itself, and records it."""
        from ray.exceptions import RayError

        with suppress(RayError, TimeoutError):
            self._handle.broadcast("drain").results(timeout_s=self._settings.drain + 5)
        self._serve.shutdown()
