"""What a query may be: no wider than any request needs."""

from __future__ import annotations

from starlette.types import Scope

from minivault.parsing import MOST_FIELDS, too_wide


def check_query(scope: Scope) -> None:
    """Raises InvalidRequest for too many parameters, before anybody takes the query apart."""
    query: bytes = scope["query_string"]
    if (count := query.count(b"&") + 1) > MOST_FIELDS:
        raise too_wide("query", count, "parameters", MOST_FIELDS)
