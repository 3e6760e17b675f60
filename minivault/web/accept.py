"""Which of the three forms of an answer a client wants, by its Accept header (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re

from minivault.schemas import Client

# One walk over the header whatever is in it: a quote that is not closed goes to the end, and no
# part of the pattern gives back what it has taken.
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)')
MOST_TYPES = 100  # what comes behind so many types of one header is not read

_FORMS = {
    "text/event-stream": Client.SSE,
    "application/json": Client.JSON,
    "text/plain": Client.TEXT,
}


def preferred(accept: str) -> Client:
    """The named type with the highest q; ties go to event-stream, then json. None named: text."""
    offered: dict[str, float] = {}
    for item in _QUOTED.sub("", accept).split(",", MOST_TYPES)[:MOST_TYPES]:
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        offered[name] = max(offered.get(name, 0.0), _quality(parameters) if parameters else 1.0)
    best, best_quality = Client.TEXT, 0.0
    for name, form in _FORMS.items():
        if offered.get(name, 0.0) > best_quality:
            best, best_quality = form, offered[name]
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
