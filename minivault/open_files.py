"""How many connections fit in the files that this process may open."""

from __future__ import annotations

import resource

from minivault.errors import CannotStart
from minivault.settings import Settings

#: Open connections, idle ones too. A fuse for memory and file descriptors, not the queue's limit.
_FEWEST_MEANT = 4096
_SPARE_FILES = 64
_SPARE_CONNECTIONS = 256  # beside those of texts: pages, logs, who comes again


def connection_limit(settings: Settings) -> int:
    """As many connections as there can be files; the usual soft limit of 1024 is raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    meant = _meant(settings)
    wanted = meant + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return meant if soft == resource.RLIM_INFINITY else min(soft - _SPARE_FILES, meant)


def _meant(settings: Settings) -> int:
    """How many connections are meant to fit."""
    texts = settings.most_running + settings.max_waiting
    return max(_FEWEST_MEANT, texts + _SPARE_CONNECTIONS)


def shortage(settings: Settings) -> str | None:
    """A sentence where fewer connections fit than are meant to.

    Raises CannotStart where fewer fit than requests are promised a place.
    """
    meant = _meant(settings)
    wanted = settings.most_running + settings.max_waiting
    possible = connection_limit(settings)
    if possible < wanted:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise CannotStart(
            f"{wanted + _SPARE_FILES} open files are wanted and {limit} are allowed: "
            f"ulimit -n {wanted + _SPARE_FILES}, or smaller --max-running and --max-waiting"
        )
    if possible == meant:
        return None
    return (
        f"{possible} connections fit where {meant} are meant to: ulimit -n {meant + _SPARE_FILES}"
    )
