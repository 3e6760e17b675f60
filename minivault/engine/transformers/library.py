"""The library transformers, imported when it is needed; what it has to say, we say."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any


@cache
def library() -> Any:
    """The module; untyped in good part."""
    transformers = importlib.import_module("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers
