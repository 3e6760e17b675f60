"""Answers only to names that are this server's own, so that no foreign name can be pointed at it.

A page on evil.example whose name suddenly means 127.0.0.1 (DNS rebinding) still sends its own name
as Host; that is what is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from minivault.errors import MalformedRequest

OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
ANY_ADDRESS = ("0.0.0.0", "::", "[::]", "")


class AllowedHosts:
    """Refuses every Host but the server's own.

    The own names are localhost, the loopback addresses, the address the server was bound to and the
    address the connection came in on; they must have the server's port, if any. An `allowed` name
    is taken with every port, or with its own where it has one, as in `example.org:8443`.
    """

    def __init__(self, *, allowed: Iterable[str] = (), bound: str = "127.0.0.1") -> None:
        self.allowed = frozenset(name.lower() for name in allowed)
        self.own = frozenset(OWN_NAMES)
        if bound not in ANY_ADDRESS:
            self.own |= {as_host(bound)}

    def check(self, scope: Scope) -> None:
        """Raises MalformedRequest."""
        given = Headers(scope=scope).getlist("host")
        if len(given) == 1:
            host = given[0].lower()
            name, port = split_port(host)
            if name in self.allowed or host in self.allowed:
                return
            address, own_port = scope.get("server") or (None, None)
            own_name = name in self.own or (address is not None and name == _literal(address))
            if own_name and port in (None, own_port and str(own_port)):
                return
        raise MalformedRequest(
            "this server does not answer to the name in Host; "
            "if it should, start it with --allowed-host NAME"
        )


def split_port(host: str) -> tuple[str, str | None]:
    """`name:port` in two; the brackets of an IPv6 address stay where they are."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit():
        return name, port
    return host, None


def as_host(address: str) -> str:
    """An address as it stands in a Host header: IPv6 in brackets."""
    return f"[{address.lower()}]" if ":" in address and address[0] != "[" else address.lower()


def _literal(address: str) -> str | None:
    """The address of a connection; a name says nothing about who is meant."""
    try:
        return as_host(str(ip_address(address)))
    except ValueError:
        return None
