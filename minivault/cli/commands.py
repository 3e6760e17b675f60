"""The command line: `minivault serve`, `generate`, `pull`, `models`, `logs`, `bench`, `doctor`, …

Exit codes: 0, 1 (the answer is no), 2 (usage), 3 (cannot start). Errors are one line on stderr.
What a command needs is imported when it runs, so that `--help` is there at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer

from minivault import __version__
from minivault.cli.bench import bench
from minivault.cli.cluster import app as cluster
from minivault.cli.doctor import doctor
from minivault.cli.logs import app as logs
from minivault.cli.models import models, pull
from minivault.cli.options import MODEL_AND_LOG, options, read_settings, takes
from minivault.cli.witness import witness
from minivault.errors import CannotStart, ChainBroken, InvalidRequest, MiniVaultError
from minivault.parsing import parse_parameters
from minivault.schemas import Parameters
from minivault.settings import INSTEAD, Settings
from minivault.standard_streams import escape_what_does_not_fit, open_missing

app = typer.Typer(
    name="minivault",
    help="Text from a local language model, streamed and kept in a log that verifies and replays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@takes(options(Settings))
def serve(
    *,
    workers: Annotated[int | None, typer.Option(hidden=True)] = None,
    **given: Any,
) -> None:
    """Serve the page, the API and the log. Every option is a MINIVAULT_… variable too."""
    settings = read_settings(given)
    from minivault.variables import complaints

    for complaint in complaints():
        print("warning:", complaint, file=sys.stderr)
    from minivault.libraries import require

    require("uvicorn", "sse-starlette", "starlette")  # before they are built upon
    from minivault import server

    with _starting():
        code = server.serve(settings, workers=workers)
    raise typer.Exit(code)


@takes(options(Parameters), options(Settings, only={*MODEL_AND_LOG, "store_text"}))
def generate(
    prompt: Annotated[
        str | None,
        typer.Argument(help="The text to continue; read from stdin if it is - or absent."),
    ] = None,
    *,
    system: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Tell a model with a chat template how to answer."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text as it is, without a chat template.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end.")
    ] = False,
    **given: Any,
) -> None:
    """Continue a text, or answer it if the model chats. Ctrl-C stops it.

    What was said is in the log either way.
    """
    asked = {name: given.pop(name) for name in Parameters.model_fields if name in given}
    settings = read_settings(given)
    from minivault.cli.generate import Turns, answer, read_prompt

    turns = Turns(raw=raw, system=system)
    request = parse_parameters({"prompt": read_prompt(prompt), **asked})
    with _starting():
        code = answer(settings, request, turns, as_json=as_json)
    raise typer.Exit(code)


def version(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which MiniVault this is, on which Python and libraries, and which were not tested."""
    from platform import platform, python_version

    from minivault.libraries import libraries

    versions = {"minivault": __version__, "python": python_version(), "platform": platform()}
    found = {each.name: each for each in libraries()}
    if as_json:
        untested = {each.name: str(each.tested) for each in found.values() if not each.within}
        installed = {each.name: each.installed for each in found.values()}
        print(json.dumps({**versions, **installed, "untested": untested}))
        return
    for name, number in versions.items():
        print(f"{name:<18} {number}")
    for each in found.values():
        remark = "" if each.within else f"  outside what was tested: {each.tested}"
        print(f"{each.name:<18} {each.installed or 'not installed'}{remark}")


# As --help lists them.
for _command in (serve, generate, pull, models, bench, doctor, version, witness):
    app.command()(_command)
app.add_typer(logs, name="logs")
app.add_typer(cluster, name="cluster")


@contextmanager
def _starting() -> Iterator[None]:
    """A log that does not verify is an answer to `logs verify`, but here a reason not to start."""
    try:
        yield
    except ChainBroken as error:
        hint = "minivault logs verify looks at it, minivault logs repair brings it back to work"
        raise CannotStart(f"the log was changed: {error} ({hint})") from error


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    open_missing()
    escape_what_does_not_fit()
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_gone()
    except OSError as error:
        return _unwritten(error)
    return code


def _run(arguments: list[str] | None) -> int:
    try:
        result = app(arguments, standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()
        gone = message.startswith("No such option: --kernels")
        return _fail(f"--kernels is gone; {INSTEAD}" if gone else message, error.exit_code)
    except CannotStart as error:
        return _fail(str(error), 3)
    except InvalidRequest as error:
        return _fail(str(error), 2)
    except MiniVaultError as error:
        return _fail(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SystemExit as end:
        # Typer ends so where a pipe's reader has gone.
        if isinstance(end.__context__, BrokenPipeError):
            return _reader_gone()
        raise
    except BrokenPipeError:
        return _reader_gone()
    except OSError as error:
        if error.filename is None:
            return _unwritten(error)
        return _fail(f"{error.filename}: {error.strerror}", 1)
    except BaseException as error:  # noqa: BLE001 - a traceback may show a prompt; the place is enough
        return _fail(f"unexpected {type(error).__name__} in {_place(error)}", 1)
    return result if isinstance(result, int) else 0


def _fail(message: str, code: int) -> int:
    if message:  # empty where the help was shown instead
        with suppress(OSError):  # whoever read it has gone
            print("error:", " ".join(message.split()), file=sys.stderr, flush=True)
    return code


def _unwritten(error: OSError) -> int:
    """Standard output takes no more: the disk is full, the terminal gone."""
    _flush_nowhere()
    reason = str(error.strerror or error).lower()
    return _fail(f"what was to be printed cannot be written: {reason}", 1)


def _reader_gone() -> int:
    """`minivault logs tail | head`: nobody is left to be told, and nothing went wrong."""
    _flush_nowhere()
    return 128 + signal.SIGPIPE


def _flush_nowhere() -> None:
    """Lets Python flush what is left of the output at its end without a complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _place(error: BaseException) -> str:
    """The innermost of our own lines that the error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "minivault" in frame.filename] or frames
    return f"{os.path.basename(ours[-1].filename)}, line {ours[-1].lineno}"
