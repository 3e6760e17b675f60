"""Starts the texts of a request over /v1: all begins are on disk before anything is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request

from minivault.errors import FieldError, KeyConflict
from minivault.generations import Follower, Visitor
from minivault.schemas import Client
from minivault.service import Service
from minivault.web.carried import caller_of, service_of
from minivault.web.openai.asked import Asked, Choice


async def start(request: Request, asked: Asked) -> list[Follower]:
    """The followers of all choices, in order; each must be closed. All are accepted, or none.

    Raises what keeps one of them from being accepted.
    """
    service = service_of(request)
    client = Client.SSE if asked.stream else Client.JSON
    visitor = Visitor(client, request.scope["state"]["audit"], caller_of(request))
    return await _all(service, asked.choices, visitor)


async def _all(service: Service, choices: Sequence[Choice], visitor: Visitor) -> list[Follower]:
    first = await _one(service, choices[0], visitor)
    if len(choices) == 1:
        return [first]
    group = first.generation.id
    others = (_one(service, each, visitor, group) for each in choices[1:])
    started = [first, *await asyncio.gather(*others, return_exceptions=True)]
    failed = next((each for each in started if isinstance(each, BaseException)), None)
    followers = [each for each in started if isinstance(each, Follower)]
    if failed is not None:
        for each in followers:
            each.close()
        raise failed
    return followers


async def start_one(
    request: Request, choice: Choice, client: Client, *, lives_on: bool
) -> Follower:
    """The follower of a single choice, which must be closed; see `start`."""
    service = service_of(request)
    visitor = Visitor(client, request.scope["state"]["audit"], caller_of(request), lives_on)
    return await _one(service, choice, visitor)


async def _one(
    service: Service, choice: Choice, visitor: Visitor, group: str | None = None
) -> Follower:
    """Whoever has named the request comes back to it; every other one ends it by leaving."""
    call = replace(choice.call, group=group)
    lives_on = visitor.lives_on or choice.request.key is not None
    visitor = replace(visitor, call=call, lives_on=lives_on)
    try:
        return await service.generations.start(choice.request, visitor)
    except KeyConflict:
        message = "names another request that is still kept; take a new one"
        raise KeyConflict([FieldError("Idempotency-Key", message)]) from None
