"""MiniVault: text from a local language model, streamed and kept in a log that verifies."""

from minivault.backends.base import Backend, Finish, ModelInfo, Piece, Request

__version__ = "0.2.0"

__all__ = ["Backend", "Finish", "ModelInfo", "Piece", "Request", "__version__"]
