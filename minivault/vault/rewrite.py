"""Writing a file of the log anew: readers and servers see the old one or the new one."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable

from minivault.vault.private_file import Folder, sync
from minivault.vault.segments import Segment


def rewrite(folder: Folder, segment: Segment, lines: Iterable[bytes]) -> None:
    """Puts these lines, each with its newline, in the file's place (lock held). Raises OSError."""
    temporary = f".{segment.name}.new"
    folder.remove(temporary)
    with open(folder.create(temporary), "wb") as raw:
        if segment.is_compressed:
            with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as packed:
                packed.writelines(lines)
        else:
            raw.writelines(lines)
        raw.flush()
        sync(raw.fileno())
    shutil.copystat(segment.path, folder.path / temporary)
    folder.rename(temporary, segment.name)
