"""MiniVault: text from a local language model, streamed and kept in a log that verifies."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minivault.backends.base import Backend, Finish, ModelInfo, Piece, Request
    from minivault.client import AsyncClient, Client

__version__ = "0.2.0"

__all__ = [
    "AsyncClient",
    "Backend",
    "Client",
    "Finish",
    "ModelInfo",
    "Piece",
    "Request",
    "__version__",
]

_CLIENT = {"AsyncClient", "Client"}


def __getattr__(name: str) -> Any:
    # The client comes as a package of its own too, without what a server needs.
    if name not in __all__:
        raise AttributeError(f"module 'minivault' has no attribute {name!r}")
    return getattr(
        import_module(f"minivault.{'client' if name in _CLIENT else 'backends.base'}"), name
    )
