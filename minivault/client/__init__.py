"""A client: text that survives a cut, and can be held against the log. Needs httpx2 alone."""

from minivault.client.answer import Answer, AsyncAnswer
from minivault.client.client import AsyncClient, Client
from minivault.client.reading import Receipt

__all__ = ["Answer", "AsyncAnswer", "AsyncClient", "Client", "Receipt"]
