"""What the server says in the terminal: warnings in one line, errors without anybody's words."""

from __future__ import annotations

import logging
import time
import traceback
from types import TracebackType
from typing import Any

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

#: For logging.config. No access log: its lines would hold every prompt that came in a query.
LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"()": "minivault.console_log.PlainFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
    "loggers": {
        "minivault": {"level": "INFO"},
        "uvicorn": {"level": "WARNING"},
        "uvicorn.access": {"level": "CRITICAL", "propagate": False},
        "sse_starlette": {"level": "WARNING"},
    },
}


class PlainFormatter(logging.Formatter):
    """`07:11 message`, `warning: message`; tracebacks that name the error and the lines, no words.

    An exception's message often quotes what could not be read, which may be a prompt.
    """

    def __init__(self) -> None:
        super().__init__()

    def formatMessage(self, record: logging.LogRecord) -> str:
        if record.levelno <= logging.INFO:
            return f"{time.strftime('%H:%M', time.localtime(record.created))} {record.message}"
        return f"{record.levelname.lower()}: {record.message.rstrip()}"

    def formatException(self, ei: _ExcInfo) -> str:
        kind, _, where = ei
        name = f"{kind.__module__}.{kind.__qualname__}" if kind else "unknown"
        return "".join([*traceback.format_tb(where), f"{name} (its message may hold a prompt)"])
