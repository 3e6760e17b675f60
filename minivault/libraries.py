"""The libraries that MiniVault builds on: which versions were tested, what of their inside is used.

A library may change what it never promised to keep. Then a start is refused in one line, or the
version is named as untested; it never goes on as something slower that says nothing.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from minivault.errors import CannotStart

#: `module:name` or `module:name(parameters that are passed by name or overridden)`.
INTERFACES = {
    "uvicorn": (
        "uvicorn:Server.handle_exit(sig, frame)",
        "uvicorn:Server.startup(sockets)",
        "uvicorn:Server.shutdown(sockets)",
        "uvicorn.server:ServerState().connections",
        "uvicorn.protocols.http.h11_impl:H11Protocol.connection_made(transport)",
        "uvicorn.protocols.http.h11_impl:H11Protocol.data_received(data)",
        "uvicorn.protocols.http.h11_impl:H11Protocol.connection_lost(exc)",
        "uvicorn.protocols.http.h11_impl:H11Protocol.on_response_complete",
        "uvicorn.protocols.http.h11_impl:H11Protocol.send_400_response(msg)",
        "uvicorn.protocols.http.h11_impl:H11Protocol._unsupported_upgrade_warning",
        "h11._receivebuffer:ReceiveBuffer.maybe_extract_at_most(count)",
        "uvicorn:Config(http, loop, ws, lifespan, access_log, log_config, proxy_headers, "
        "server_header, timeout_keep_alive, timeout_graceful_shutdown, limit_concurrency, "
        "h11_max_incomplete_event_size)",
    ),
    "sse-starlette": (
        "sse_starlette:EventSourceResponse(content, ping, sep, headers)",
        "sse_starlette:EventSourceResponse._send_with_timeout(send, message)",
        "sse_starlette.sse:AppStatus.disable_automatic_graceful_drain",
        "sse_starlette.sse:SendTimeoutError",
    ),
    "starlette": (
        "starlette.applications:Starlette(routes, middleware, exception_handlers, lifespan)",
        "starlette.middleware.cors:CORSMiddleware(app, allow_origins)",
        "starlette.routing:Route.matches(scope)",
        "starlette.routing:Match.PARTIAL",
        "starlette.templating:Jinja2Templates.TemplateResponse(request, name, context)",
    ),
    "huggingface-hub": (
        "huggingface_hub:HfApi(endpoint)",
        "huggingface_hub:HfApi.model_info(repo_id, revision, timeout, files_metadata)",
        "huggingface_hub:hf_hub_url(repo_id, filename, revision, endpoint)",
        "huggingface_hub:get_session",
        "huggingface_hub:get_token",
        "huggingface_hub.constants:HF_HUB_DISABLE_TELEMETRY",
        "huggingface_hub.constants:ENDPOINT",
        "huggingface_hub.errors:HfHubHTTPError",
        "huggingface_hub.utils:hf_raise_for_status(response)",
    ),
    "torch": ("torch.cpu:get_capabilities", "torch.backends.cpu:get_cpu_capability"),
    "tokenizers": (
        "tokenizers:Tokenizer.from_file(path)",
        "tokenizers:Tokenizer.encode(sequence, add_special_tokens)",
        "tokenizers:Tokenizer.encode_batch(input, add_special_tokens)",
        "tokenizers:Tokenizer.encode_batch_fast(input, add_special_tokens)",
        "tokenizers:Encoding.token_to_chars",
        "tokenizers:Tokenizer.decode(ids, skip_special_tokens)",
        "tokenizers:Tokenizer.get_added_tokens_decoder",
        "tokenizers:Tokenizer.encode_special_tokens",
        "tokenizers:decoders",
    ),
}


@dataclass(frozen=True, slots=True)
class Library:
    """A package that MiniVault needs: the version that is there, and those that were tested."""

    name: str
    installed: str | None
    tested: SpecifierSet

    @property
    def within(self) -> bool:
        return self.installed is not None and self.tested.contains(self.installed, prereleases=True)

    def __str__(self) -> str:
        return f"{self.name} {self.installed or '(not installed)'} (tested: {self.tested})"


@cache
def libraries() -> list[Library]:
    """What the package needs here, as its own metadata says; empty if it was never installed."""
    try:
        needed = metadata.requires("minivault") or []
    except metadata.PackageNotFoundError:
        return []
    parsed = [Requirement(each) for each in needed]
    return [
        Library(each.name, _installed(each.name), each.specifier)
        for each in parsed
        if each.marker is None or each.marker.evaluate({"extra": ""})
    ]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def untested() -> list[Library]:
    """Libraries whose version lies outside the range that was tested."""
    return [each for each in libraries() if not each.within]


def require(*packages: str) -> None:
    """Check what MiniVault uses of these packages beyond their promises.

    Raises CannotStart with the first thing that is missing, and the versions that have it.
    """
    for package in packages:
        for missing in lacking(package):
            remedy = "install the versions that MiniVault's own metadata names"
            for each in libraries():
                if each.name.replace("_", "-") == package:
                    wanted = f"pip install '{package}{each.tested}'"
                    remedy = f"MiniVault was tested with {each.tested}: {wanted}"
            raise CannotStart(f"{package} {_installed(package)} has no {missing}; {remedy}")


def lacking(package: str) -> Iterator[str]:
    """What of a package's interface is not there, as `INTERFACES` writes it."""
    for interface in INTERFACES[package]:
        module, path, parameters = _INTERFACE.fullmatch(interface).groups()  # type: ignore[union-attr]
        try:
            found: object = importlib.import_module(module)
            for name in path.split("."):
                found = getattr(found, name.removesuffix("()"))
                found = found() if name.endswith("()") else found  # type: ignore[operator]
        except (ImportError, AttributeError):
            yield interface
            continue
        if parameters and not _takes(found, re.split(r",\s*", parameters)):
            yield interface


_INTERFACE = re.compile(r"([\w.]+):((?:\w+(?:\(\))?\.)*\w+)(?:\(([^)]+)\))?")


def _takes(found: object, names: list[str]) -> bool:
    if not callable(found):
        return False
    try:
        parameters = inspect.signature(found).parameters
    except ValueError:  # written in another language, and it does not say
        return True
    catch_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return catch_all or parameters.keys() >= set(names)
