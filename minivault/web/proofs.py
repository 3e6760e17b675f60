"""The log's tree over HTTP: its checkpoint, and the proof of one record as a file."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from minivault.errors import NotFound
from minivault.vault.tree.head import TreeHead
from minivault.vault.tree.proof import head_of, prove
from minivault.web import answers
from minivault.web.carried import service_of
from minivault.web.connection import while_connected
from minivault.web.log_health import Standing, log_health
from minivault.web.log_query import SEQ, read_query, seq_of
from minivault.web.logs import newest_of, reader_of, room_of
from minivault.web.operations import JSON, TEXT, Operation
from minivault.web.reading import Turn

#: A record is in the tree about a second after it is in the log.
_TRIES, _WAIT = 12, 0.25  # seconds between two


class ProofQuery(BaseModel):
    """What the proof of a record tells of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    hash_only: bool = False


class Tree(BaseModel):
    """The log's Merkle tree: what can be proven of one record alone."""

    name: str
    first: int = Field(description="The records `first` to `last` are in it.")
    last: int
    is_signed: bool
    checkpoint: str = Field(description="Name, size and root, signed (c2sp.org/tlog-checkpoint).")
    shipping: Standing | None = Field(description="The bucket that has it, where there is one.")
    witnesses: list[Standing] = Field(description="Who is asked to sign it, and how far each is.")


async def prove_record(request: Request) -> Response:
    """GET /logs/records/{seq}/proof: that it stands in the log, for `minivault logs check`."""
    asked, seq = read_query(request, ProofQuery), seq_of(request)
    look = partial(_proof, reader_of(request).folder, seq, asked.hash_only)
    for last in [False] * _TRIES + [True]:
        try:
            content = await while_connected(request.receive, room_of(request).read(look))
            break
        except NotFound:
            if last or not 1 <= seq <= newest_of(request):
                raise
            await asyncio.sleep(_WAIT)
    name = f'attachment; filename="{seq}.tlog-proof"'
    return Response(content, media_type="text/plain", headers={"Content-Disposition": name})


async def show_tree(request: Request) -> Response:
    """GET /logs/tree: how many records can be proven, and the checkpoint as it is signed."""
    folder = reader_of(request).folder
    head = await while_connected(request.receive, room_of(request).read(partial(_head, folder)))
    outside = log_health(service_of(request))
    return answers.as_json(
        Tree(
            name=head.origin,
            first=head.first,
            last=head.last,
            is_signed=head.is_signed,
            checkpoint=head.note.decode(),
            shipping=outside.shipping,
            witnesses=outside.witnesses,
        )
    )


def _proof(folder: Path, seq: int, hash_only: bool, turn: Turn) -> bytes:
    turn()
    return prove(folder, seq, hash_only=hash_only).dump()


def _head(folder: Path, turn: Turn) -> TreeHead:
    turn()
    return head_of(folder)


routes = [
    Operation(
        "GET",
        "/logs/records/{seq}/proof",
        prove_record,
        "proveRecord",
        "log",
        "A proof that a record stands in the log",
        {200: {TEXT: None}},
        (404,),
        parameters=(SEQ,),
        query=ProofQuery,
    ),
    Operation(
        "GET",
        "/logs/tree",
        show_tree,
        "showTree",
        "log",
        "The log's tree: its size and its checkpoint",
        {200: {JSON: Tree}},
        (404,),
    ),
]
