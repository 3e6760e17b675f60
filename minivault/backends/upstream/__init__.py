"""Text from OpenAI-compatible servers behind this one: vLLM, llama.cpp, another MiniVault."""

from minivault.backends.upstream.backend import UpstreamBackend

__all__ = ["UpstreamBackend"]
