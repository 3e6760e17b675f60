"""`minivault cluster`: several servers behind one address, under Ray Serve."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from minivault.cli.options import options, read_settings, takes
from minivault.cluster.fleet import Fleet
from minivault.settings import Settings

app = typer.Typer(help="Several servers behind one address, under Ray Serve.", no_args_is_help=True)

Replicas = Annotated[int, typer.Option(min=1, max=1000, help="Servers.")]
MaxReplicas = Annotated[
    int | None,
    typer.Option(min=1, max=1000, help="As many servers as the work wants, up to this many."),
]
LongestStream = Annotated[
    float,
    typer.Option(min=0, max=86_400, help="Seconds for texts to end where a server is replaced."),
]


@app.command()
@takes(options(Settings))
def up(
    *,
    replicas: Replicas = 2,
    max_replicas: MaxReplicas = None,
    longest_stream: LongestStream = 300,
    **given: Any,
) -> None:
    """Start a fleet on this machine; Ctrl-C ends all of it, SIGHUP replaces its servers in turn.

    Options are those of serve. All servers share the log folder, the secret and the cores.
    """
    fleet = Fleet(replicas, max_replicas, longest_stream)
    settings = read_settings(given)
    from minivault.cluster import machine

    raise typer.Exit(machine.up(settings, fleet))


@app.command()
@takes(options(Settings, but={"host", "verbose"}))
def config(
    *,
    replicas: Replicas = 2,
    max_replicas: MaxReplicas = None,
    longest_stream: LongestStream = 300,
    **given: Any,
) -> None:
    """Print the Serve configuration of a real cluster, with the variables that its nodes need.

    Only the options given here reach the servers. Keys are given as @FILE.
    """
    fleet = Fleet(replicas, max_replicas, longest_stream)
    read_settings({**given, "host": "0.0.0.0"})
    from minivault.cluster.serve_config import serve_config

    print(serve_config(given, fleet), end="")
