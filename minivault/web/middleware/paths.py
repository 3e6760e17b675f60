"""How the middleware tells routes apart."""

from __future__ import annotations

from starlette.types import Scope

TOKENS = ("/tokenize", "/detokenize", "/tokenizer_info")


def route_path(scope: Scope) -> str:
    """The path as the routes see it: without the prefix that a proxy or a mount adds."""
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "").rstrip("/")
    return path[len(prefix) :] if prefix and below(path, prefix) else path


def is_openai(path: str) -> bool:
    """Whether OpenAI's clients ask here, and read its errors."""
    return below(path, "/v1") or path in TOKENS


def below(path: str, root: str) -> bool:
    """Whether `path` is `root` or something under it."""
    return path == root or path.startswith(root + "/")
