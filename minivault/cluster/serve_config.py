"""The configuration of a fleet on a real cluster, as `serve deploy` and KubeRay read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from minivault.cluster.fleet import (
    APPLICATION,
    DEPLOYMENT,
    Fleet,
    deployment_options,
    environment,
    http_options,
)
from minivault.cluster.haproxy import BINARY
from minivault.errors import FieldError, InvalidRequest
from minivault.server import refuse_open_address
from minivault.settings import Settings

#: Replicas and HAProxy find each other over the network, so every replica's port is open to it.
_EVERYWHERE = "0.0.0.0"

_HEAD = """\
# minivault cluster config … > serve.yaml, then on the head: serve deploy serve.yaml
# Every `ray start`, on every node, needs these:
{variables}
# On every node: the same versions, secret file and model; a log folder on a disk of its own.
# The ports 30000 to 31000 are the replicas' own: open between nodes, to nobody else.
"""


def serve_config(given: Mapping[str, Any], fleet: Fleet) -> str:
    """YAML. `given`: the options, as they were written; only these reach the replicas.

    Raises InvalidRequest, or CannotStart where the address would be open to everybody.
    """
    arguments = {**given, "host": _EVERYWHERE}
    settings = Settings(**arguments)
    _require_shared(arguments)
    refuse_open_address(_EVERYWHERE, settings)
    threads = settings.threads or 1
    port = arguments.pop("port", 8000)
    content = {
        "proxy_location": "EveryNode",
        "http_options": http_options(_EVERYWHERE, port),
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": "minivault.cluster.replica:build",
                "args": {**arguments, "threads": threads},
                "deployments": [
                    {"name": DEPLOYMENT, **deployment_options(fleet, settings, cores=threads)}
                ],
            }
        ],
    }
    needed = {
        **environment(fleet),
        "RAY_SERVE_HAPROXY_BINARY_PATH": '"$(command -v minivault-haproxy)"',
        "RAY_AUTH_MODE": "token",
    }
    quoted = {
        name: value if value.startswith('"') or " " not in value else f'"{value}"'
        for name, value in needed.items()
    }
    variables = "\n".join(f"#   export {name}={value}" for name, value in quoted.items())
    return _HEAD.format(variables=variables, binary=BINARY) + "\n".join(_yaml(content)) + "\n"


def _require_shared(given: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for what must be the same everywhere, or must not stand in a file."""
    errors = []
    if not given.get("secret_file"):
        wrong = "is needed: a file with the same content on every node (openssl rand -out FILE 32)"
        errors.append(FieldError("--secret-file", wrong))
    if not given.get("allowed_host"):
        wrong = "is needed: the name that people reach the fleet by (no replica knows it by itself)"
        errors.append(FieldError("--allowed-host", wrong))
    for name in ("api_key", "log_key", "upstream_key"):
        if any(not str(key).startswith("@") for key in given.get(name, ())):
            option = f"--{name.replace('_', '-')}"
            wrong = "would stand in the file for everybody to read; say @FILE, a file on every node"
            errors.append(FieldError(option, wrong))
    if errors:
        raise InvalidRequest(errors)


def _yaml(value: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """The lines of a mapping; scalars and lists of them are JSON, which YAML includes."""
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield f"{indent}{name}:"
            yield from _yaml(each, indent + "  ")
        elif isinstance(each, list) and each and isinstance(each[0], Mapping):
            yield f"{indent}{name}:"
            for item in each:
                first, *others = _yaml(item, indent + "    ")
                yield f"{indent}  - {first.strip()}"
                yield from others
        else:
            yield f"{indent}{name}: {json.dumps(each, default=str)}"
