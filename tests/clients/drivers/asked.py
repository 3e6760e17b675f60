"""What a driver is asked to do, and how it tells what came of it: JSON in, JSON out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

#: `text`, what to say; `sampling`, how: max_tokens, temperature, seed.
ASKED: dict[str, Any] = json.loads(sys.argv[1])


def tell(**found: Any) -> None:
    print(json.dumps(found))


def failure(call: Callable[[], object]) -> dict[str, str]:
    """The error that a call raises: its class and what it says."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - which one is what the test asks
        return {"kind": type(error).__name__, "message": str(error)}
    return {}
