"""What the server prints when something goes wrong: where, and nobody's words."""

from __future__ import annotations

import logging
import logging.config
import re
import sys

from minivault.console_log import LOG_CONFIG, PlainFormatter


def record(level: int, message: str, *, failed: bool = False) -> logging.LogRecord:
    info = sys.exc_info() if failed else None
    return logging.LogRecord("minivault", level, __file__, 1, message, None, info)


def test_a_warning_is_one_line_with_its_level() -> None:
    formatter = PlainFormatter()
    assert formatter.format(record(logging.WARNING, "the disk fills")) == "warning: the disk fills"
    told = formatter.format(record(logging.INFO, "GET / 200"))
    assert re.fullmatch(r"\d\d:\d\d GET / 200", told)


def test_a_traceback_names_the_error_and_the_line_but_quotes_nothing() -> None:
    try:
        try:
            raise UnicodeEncodeError("utf-8", "CANARY", 0, 1, "CANARY")
        except UnicodeEncodeError as error:
            raise ValueError("CANARY") from error
    except ValueError:
        shown = PlainFormatter().format(record(logging.ERROR, "it broke", failed=True))
    assert shown.startswith("error: it broke\n")
    assert "builtins.ValueError" in shown
    assert "test_console_log.py" in shown
    assert ": CANARY" not in shown


def test_the_configuration_can_be_loaded_and_keeps_access_logs_out() -> None:
    config = logging.config.DictConfigurator(LOG_CONFIG)
    assert config.config["loggers"]["uvicorn.access"] == {"level": "CRITICAL", "propagate": False}
    formatter = config.configure_formatter(config.config["formatters"]["plain"])
    assert isinstance(formatter, PlainFormatter)
