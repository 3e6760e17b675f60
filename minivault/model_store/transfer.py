"""One file on its way: goes on where it stopped, gives up when nothing comes any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx2
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, not marked so
    hf_raise_for_status,
)

from minivault.errors import DownloadFailed
from minivault.model_store.client import client
from minivault.model_store.hub import RemoteFile


def receive(
    file: RemoteFile,
    part: Path,
    headers: Mapping[str, str],
    *,
    stall: float,
    arrived: Callable[[], None],
) -> None:
    """Fill `part` up to the file's size; `arrived` is called after each block.

    A connection that breaks is made again as long as each one brings bytes. Raises DownloadFailed
    if no byte came for `stall` seconds; httpx2.HTTPError for refusals and for connections that
    bring nothing; OSError if the disk takes no more bytes.
    """
    while (start := part.stat().st_size) != file.size:
        try:
            _receive(file, part, headers, stall=stall, arrived=arrived)
        except httpx2.TimeoutException as error:
            reason = f"stalled, no byte came for {stall:g} s"
            raise DownloadFailed(f"{file.name}: {reason}; what is here is kept") from error
        except httpx2.TransportError:
            if part.stat().st_size <= start:
                raise


def _receive(
    file: RemoteFile,
    part: Path,
    headers: Mapping[str, str],
    *,
    stall: float,
    arrived: Callable[[], None],
) -> None:
    """One connection: ask for the bytes that are missing and write those that come."""
    start = part.stat().st_size if part.stat().st_size < file.size else 0
    # Without "identity" the hub compresses small files, and offsets would mean other bytes.
    asked = {**headers, "Accept-Encoding": "identity"}
    if start:
        asked["Range"] = f"bytes={start}-"
    with client().stream("GET", file.url, headers=asked, timeout=stall) as response:
        hf_raise_for_status(response)
        with part.open("ab" if response.status_code == 206 else "wb") as out:
            for block in response.iter_bytes():
                out.write(block)
                out.flush()  # what came is kept, also by a process that is killed now
                arrived()
                if out.tell() > file.size:
                    raise DownloadFailed(
                        f"{file.name}: more came than the {file.size} bytes announced"
                    )
    if part.stat().st_size <= start:
        raise httpx2.RemoteProtocolError("it ended early")
