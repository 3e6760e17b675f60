"""Makes the text of a record again: with a loaded backend, or on a server behind everybody."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from functools import partial

from minivault.backends.base import Backend, Finish, Request
from minivault.generations.generation import Generation
from minivault.generations.prompt import prepare_again, recorded_request
from minivault.generations.record import engine_data, recorded_call
from minivault.generations.registry import Registry
from minivault.generations.run import run
from minivault.generations.visitor import Visitor
from minivault.schemas import EffectiveParameters
from minivault.vault.record import Record
from minivault.vault.replay import Origin


def origin_of(backend: Backend) -> Origin:
    """What would make the text now."""
    info = backend.info
    model = {"name": info.name, "sha256": info.sha256}
    return Origin(model, engine_data(info), info.reproducible)


async def tell(backend: Backend, record: Record, max_tokens: int) -> AsyncGenerator[str, None]:
    """The record's text from its beginning, stop strings applied; ends after `max_tokens`."""
    tail = ""
    async for item in run(backend, _request_of(record, max_tokens)):
        if isinstance(item, Finish):
            yield tail
        else:
            tail = item.tail
            yield item.text


async def tell_in_turn(
    registry: Registry,
    visitor: Visitor,
    progress: Callable[[int], None],
    record: Record,
    max_tokens: int,
) -> AsyncGenerator[str, None]:
    """As `tell`, but as a generation of its own, recorded as a replay. `progress` gets its tokens.

    Raises Loading, Draining, QueueFull, LogUnavailable.
    """
    backend = registry.open_backend()
    request = _request_of(record, max_tokens)
    id = registry.ids.make(request.seed, secrets.token_bytes(8), registry.engine_hash)
    call = recorded_call(record)
    generation = Generation(id, None, visitor, backend.info, replays=record.seq, call=call)
    tokens = record.usage.get("prompt_tokens")
    prepared = partial(prepare_again, request, tokens, backend)
    follower = await registry.launch(generation, prepared, backend)
    try:
        async for batch in follower.batches():
            progress(generation.text.tokens)
            yield "".join(event.text for _, event in batch)
    finally:
        follower.close()


def _request_of(record: Record, max_tokens: int) -> Request:
    """The request of a record, to be made again up to `max_tokens`."""
    params = EffectiveParameters.model_validate({**record.params, "max_tokens": max_tokens})
    return recorded_request(record, params)
