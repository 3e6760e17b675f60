"""`minivault generate`: one prompt, streamed to the terminal and kept in the log like any other."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from typing import Any

from minivault.backends.base import ModelInfo
from minivault.cli.waiting import waiting
from minivault.errors import BackendFailed, FieldError, InvalidRequest
from minivault.generations import Audit, Follower, Visitor
from minivault.parsing import parse_parameters
from minivault.schemas import Client, GenerateRequest
from minivault.service import Service
from minivault.settings import Settings

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Turns:
    """How a prompt is given to a model with a chat template: as a turn, or `raw`, as it is."""

    raw: bool = False
    system: str | None = None

    def __post_init__(self) -> None:
        if self.raw and self.system is not None:
            raise InvalidRequest([FieldError("--system", "is a turn of a chat; --raw makes none")])

    def of(self, request: GenerateRequest, info: ModelInfo) -> GenerateRequest:
        """The request as this model takes it. Raises InvalidRequest."""
        if self.raw or not info.chat:
            if self.system is not None:
                message = f"{info.name} has no chat template; put it into the prompt"
                raise InvalidRequest([FieldError("--system", message)])
            return request
        messages = [{"role": "user", "content": request.prompt}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        given = request.model_dump(exclude_unset=True, exclude={"prompt"})
        return parse_parameters({**given, "messages": messages})


def answer(settings: Settings, request: GenerateRequest, turns: Turns, *, as_json: bool) -> int:
    """Answers one request on stdout; returns the exit code. Raises MiniVaultError."""
    if settings.model is None:
        # One answer is not worth a download that nobody asked for.
        settings = settings.model_copy(update={"offline": True})
    return asyncio.run(_answer(settings, request, turns, as_json=as_json))


def read_prompt(argument: str | None) -> str:
    """The argument, or stdin without the newline at its end. Raises InvalidRequest."""
    if argument not in (None, "-"):
        return str(argument)
    if sys.stdin.isatty():
        raise InvalidRequest([FieldError("prompt", "give it as an argument, or pipe it in")])
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise InvalidRequest([FieldError("prompt", "must be UTF-8")]) from None


async def _answer(
    settings: Settings, request: GenerateRequest, turns: Turns, *, as_json: bool
) -> int:
    service = Service.opened(settings)
    try:
        with waiting(f"loading {service.stage.wanted}"):
            await service.start()
            await service.ready()
        if service.stage.notice:
            wanted, name = service.stage.wanted, service.info.name
            here = f"note: {wanted} is not here (minivault pull {wanted}); {name} answers"
            print(here, file=sys.stderr)
        return await _stream(service, turns.of(request, service.info), as_json=as_json)
    finally:
        await service.close()


async def _stream(service: Service, request: GenerateRequest, *, as_json: bool) -> int:
    """Prints what comes; returns the exit code. Whatever ends it early, a record is written."""
    visitor = Visitor(Client.CLI, Audit(service.vault))
    follower = await service.generations.start(request, visitor)
    stopping = _Stop(service, follower)
    if sys.stdout.isatty() and not as_json and request.prompt:
        print(f"{_DIM}{_shown(request.prompt)}{_PLAIN}", end="", flush=True)
    try:
        async for batch in follower.batches():
            if not as_json:
                text = "".join(event.text for _, event in batch)
                print(_shown(text), end="", flush=True)
        if as_json:
            from minivault.web.text import answer_data  # brings starlette, plain text needs none

            print(json.dumps(answer_data(follower)))
        elif sys.stdout.isatty():
            print()
    finally:
        follower.close()
        await stopping.done()
    end = follower.generation.events[-1].data
    if not as_json:
        print(_told(follower.generation.events[0].data, end), file=sys.stderr)
    if "error" in end:
        raise BackendFailed(end["error"]["message"])
    if not follower.generation.text.said and not stopping.code:
        why = "the model had nothing to say; another prompt or --seed may help"
        if made := end["usage"]["completion_tokens"]:
            why = f"{made} tokens were made, and none of them says anything"
        print(f"note: the text is empty: {why}", file=sys.stderr)
    return stopping.code


def _told(start: dict[str, Any], end: dict[str, Any]) -> str:
    """Where the text stands in the log, and what it takes to have it again."""
    receipt, made = end.get("receipt"), (end.get("usage") or {}).get("completion_tokens", 0)
    parts = [
        f"line {receipt['seq']}" if receipt else "no line in the log",
        f"seed {start['seed']}",
        f"{made} token{'' if made == 1 else 's'}",
        end["finish_reason"],
    ]
    return ", ".join(parts)


def _shown(text: str) -> str:
    """What a model says may not steer a terminal; a program gets it as it is."""
    if not sys.stdout.isatty():
        return text
    from minivault.cli.logs_view import printable

    return printable(text)


class _Stop:
    """Ctrl-C and SIGTERM stop the generation, so that its record says so."""

    def __init__(self, service: Service, follower: Follower) -> None:
        self.code = 0
        self._generations = service.generations
        self._id = follower.generation.id
        self._task: asyncio.Task[object] | None = None
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._stop, 128 + each)

    async def done(self) -> None:
        """Returns when the generation has ended, whether somebody stopped it or it was through."""
        await (self._task or self._generations.stop(self._id))

    def _stop(self, code: int) -> None:
        self.code = code
        self._task = self._task or asyncio.create_task(self._generations.stop(self._id))
