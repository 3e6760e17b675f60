"""How many connections fit in the files that this process may open."""

from __future__ import annotations

import resource

from minivault.errors import CannotStart
from minivault.settings import Settings

#: Open connections, idle ones too. A fuse for memory and file descriptors, not the queue's limit.
_MAX_CONNECTIONS = 4096
_SPARE_FILES = 64


def connection_limit() -> int:
    """As many connections as there can be files; the usual soft limit of 1024 is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return (
        _MAX_CONNECTIONS
        if soft == resource.RLIM_INFINITY
        else min(soft - _SPARE_FILES, _MAX_CONNECTIONS)
    )


def shortage(settings: Settings) -> str | None:
    """A sentence where fewer connections fit than are meant to.

    Raises CannotStart where fewer fit than requests are promised a place.
    """
    wanted = min(settings.max_running + settings.max_waiting, _MAX_CONNECTIONS)
    possible = connection_limit()
    if possible < wanted:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise CannotStart(
            f"{wanted + _SPARE_FILES} open files are wanted and {limit} are allowed: "
            f"ulimit -n {wanted + _SPARE_FILES}, or smaller --max-running and --max-waiting"
        )
    if possible == _MAX_CONNECTIONS:
        return None
    return (
        f"{possible} connections fit where {_MAX_CONNECTIONS} are meant to: "
        f"ulimit -n {_MAX_CONNECTIONS + _SPARE_FILES}"
    )
