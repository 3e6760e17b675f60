"""What a query may be: no wider than any request needs."""

from __future__ import annotations

from starlette.types import Scope

from minivault.parsing import check_width


def check_query(scope: Scope) -> None:
    """Raises InvalidRequest for too many parameters, before anybody takes the query apart."""
    query: bytes = scope["query_string"]
    check_width("query", query.count(b"&") + 1, "parameters")
