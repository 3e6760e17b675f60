"""The MINIVAULT_ variables that are set and not read: misspelt ones, and those of Kubernetes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from dotenv import dotenv_values

from minivault.settings import Settings, is_link

#: What Kubernetes sets in every container for a service called minivault, or minivault-something.
_SERVICE = re.compile(r"MINIVAULT_(\w+_)?(SERVICE|PORT)_\w+|MINIVAULT_\w+_PORT")


def complaints() -> Iterator[str]:
    """One sentence for each variable, in the environment or in `.env`, that is left aside.

    A misspelt MINIVAULT_API_KEY would leave a server open without a word.
    """
    known = {f"MINIVAULT_{name.upper()}" for name in Settings.model_fields}
    found = [
        (name, values[name] or "", place)
        for values, place in ((os.environ, ""), (dotenv_values(".env"), " in .env"))
        for name in sorted(values)
        if name.upper().startswith("MINIVAULT_")
    ]
    for name, value, place in found:
        if name.upper() not in known:
            if not _SERVICE.fullmatch(name.upper()):
                yield f"{name}{place} is not a setting of MiniVault"
        elif name.upper() == "MINIVAULT_PORT" and is_link(value):
            yield (
                f"{name}={value}{place} is left aside: Kubernetes sets it for a service called "
                "minivault; give --port, or set enableServiceLinks: false"
            )
