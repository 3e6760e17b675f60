"""What the operating system may lack, and what that costs."""

from __future__ import annotations

import ctypes
import mmap
import socket
from pathlib import Path

_LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def has_large_pages() -> bool:
    """Whether memory can be asked for in pages of megabytes, which are read faster."""
    try:
        allowed = _LARGE_PAGES.read_text(encoding="ascii")
    except OSError:
        return False
    return hasattr(mmap, "MADV_HUGEPAGE") and "[never]" not in allowed


def gives_back_freed() -> bool:
    """Whether memory that was freed can be given back to the system at once."""
    return hasattr(ctypes.CDLL(None), "malloc_trim")


def unnoticed_readers() -> str | None:
    """A sentence where a connection whose reader vanished without a word is not ended soon."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        return None
    return (
        "this system has no TCP_USER_TIMEOUT: a reader that vanishes without a word, a laptop that "
        "falls asleep, is noticed after minutes, and its text is made until then"
    )
