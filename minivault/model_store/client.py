"""The hub's client, and what of the environment keeps it from being made: proxies, certificates."""

from __future__ import annotations

import os
import re

import httpx2
from huggingface_hub import get_session

from minivault.background import describe
from minivault.errors import DownloadFailed

_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def client() -> httpx2.Client:
    """The client that all requests to the hub go through.

    Raises DownloadFailed, with the variable that is wrong and what would be right.
    """
    try:
        return get_session()
    except Exception as error:
        raise DownloadFailed(_hindrance(error)) from error


def surroundings() -> str:
    """The variables that may be to blame where a connection fails, in brackets; or nothing."""
    found = _set((*_PROXIES, *_CERTIFICATES))
    return f" ({found})" if found else ""


def _hindrance(error: Exception) -> str:
    """Why no client can be made, and what would help."""
    if isinstance(error, OSError):  # ssl.SSLError is one
        words = error.strerror or str(error)
        return (
            f"the certificates cannot be read: {words} ({_set(_CERTIFICATES)}); "
            "SSL_CERT_FILE is a file of certificates in PEM form, or unset"
        )
    if isinstance(error, ImportError) and "SOCKS" in str(error):
        return (
            f"a SOCKS proxy needs the package socksio ({_set(_PROXIES)}): "
            "pip install socksio, or name an http:// proxy, or unset it"
        )
    if isinstance(error, ValueError | httpx2.InvalidURL):
        return (
            f"the proxy cannot be used ({_set(_PROXIES)}): it is written as http://host:port, "
            "or unset"
        )
    settings = _set((*_PROXIES, *_CERTIFICATES))
    return f"the hub's client cannot be made: {describe(error)} ({settings or 'no proxy is set'})"


def _set(names: tuple[str, ...]) -> str:
    """`NAME=value` for each of these variables that is set, without the passwords in them."""
    spelt = [each for name in names for each in (name, name.lower())]
    found = [f"{name}={_bare(os.environ[name])}" for name in spelt if os.environ.get(name)]
    return ", ".join(found)


def _bare(address: str) -> str:
    return re.sub(r"//[^/@]*@", "//", address)
