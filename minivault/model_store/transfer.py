"""One file on its way: goes on where it stopped, gives up when nothing comes any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import httpx2
from huggingface_hub import get_session
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, not marked so
    hf_raise_for_status,
)

from minivault.errors import DownloadFailed
from minivault.model_store.hub import RemoteFile, refusal


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
    if no byte came for `stall` seconds, and for refusals; OSError if the disk takes no more bytes.
    """
    while (start := part.stat().st_size) != file.size:
        try:
            _receive(file, part, headers, stall=stall, arrived=arrived)
        except httpx2.TimeoutException as error:
            reason = f"stalled, no byte came for {stall:g} s"
            raise DownloadFailed(f"{file.name}: {reason}; what is here is kept") from error
        except httpx2.TransportError as error:
            if part.stat().st_size <= start:
                raise DownloadFailed(refusal(error, file.name, file.url)) from error
        except httpx2.HTTPError as error:
            raise DownloadFailed(refusal(error, file.name, file.url)) from error


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
    asked = {**headers, "Accept-Encoding": "identity", "Range": f"bytes={start}-"}
    with get_session().stream("GET", file.url, headers=asked, timeout=stall) as response:
        hf_raise_for_status(response)
        with part.open("r+b", buffering=0) as out:
            out.truncate(out.seek(start if response.status_code == 206 else 0))
            for block in response.iter_bytes():
                out.write(block)
                arrived()
                if out.tell() > file.size:
                    raise DownloadFailed(
                        f"{file.name}: more came than the {file.size} bytes announced"
                    )
    if part.stat().st_size <= start:
        raise httpx2.RemoteProtocolError("it ended early")
