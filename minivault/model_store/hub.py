"""What the hub says: the commit and the files of a repository; and its refusals, in words.

All requests go through huggingface_hub's own client, which knows proxies, tokens and HF_ENDPOINT.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)

from minivault.background import describe, start_thread
from minivault.errors import DownloadFailed, MiniVaultError
from minivault.model_store.client import client, surroundings
from minivault.model_store.files import missing_parts, possible_shards, wanted_files
from minivault.model_store.names import hub_id


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository at one commit; the hub gives one of the two hashes.

    `sha256` is of the bytes (files in LFS), `blob` is git's own id (small files).
    """

    name: str
    url: str
    size: int
    sha256: str | None
    blob: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository that are wanted, at the commit that its revision means now.

    `shards` are those that an index among them may name.
    """

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]
    headers: Mapping[str, str]
    shards: tuple[RemoteFile, ...] = ()

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def ask(name: str, revision: str | None, *, seconds: float) -> Listing:
    """The files of a model. Raises DownloadFailed, also if no answer came within `seconds`."""
    endpoint = (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half a bracket, or a port that is no number
        is_address = False
    if not is_address:
        reason = f"HF_ENDPOINT is no address: {endpoint}; https://huggingface.co is one"
        raise DownloadFailed(f"{name}: {reason}")
    # Otherwise the client asks the hub for a list of agents first, and tells it what is installed.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        return _within(seconds, lambda: _ask(endpoint, hub_id(name), revision, seconds))
    except MiniVaultError:
        raise
    except (TimeoutError, httpx2.TimeoutException) as error:
        reason = f"{_host(endpoint)} did not answer within {seconds:g} s"
        raise DownloadFailed(f"{name}: {reason}") from error
    except httpx2.HTTPError as error:
        raise DownloadFailed(refusal(error, name)) from error
    except OfflineModeIsEnabled as error:
        raise DownloadFailed(f"{name} is not downloaded: HF_HUB_OFFLINE is set") from error
    except HFValidationError as error:
        raise DownloadFailed(f"{name}: no repository of the hub can be called so") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{_host(endpoint)} does not answer as a hub does"
        raise DownloadFailed(f"{name}: {reason} (a login page, a proxy?)") from error
    except Exception as error:
        raise DownloadFailed(
            f"{name}: asking {_host(endpoint)} failed: {describe(error)}"
        ) from error


def _ask(endpoint: str, repository: str, revision: str | None, seconds: float) -> Listing:
    client()  # the one that HfApi takes, made here so that what hinders it is told apart
    info = HfApi(endpoint=endpoint).model_info(
        repository, revision=revision, timeout=seconds, files_metadata=True
    )
    siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
    if missing := missing_parts(siblings):
        raise DownloadFailed(f"{repository} cannot be used, it has {', '.join(missing)}")
    commit = info.sha
    if not commit:
        raise ValueError("an answer without a commit")

    def remote(name: str) -> RemoteFile:
        sibling = siblings[name]
        if sibling.size is None:
            raise ValueError("a file without a size")
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        url = hf_hub_url(repository, name, revision=commit, endpoint=endpoint)
        return RemoteFile(name, url, sibling.size, sha256, sibling.blob_id)

    files = tuple(map(remote, wanted_files(siblings)))
    shards = tuple(map(remote, possible_shards(siblings)))
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Listing(repository, commit, files, headers, shards)


def _within(seconds: float, function: Callable[[], Listing]) -> Listing:
    """Its result, or TimeoutError. In a thread of its own, since no timeout ends a name look-up."""
    return start_thread(function, name="ask the hub").result(seconds)


def refusal(error: httpx2.HTTPError, name: str) -> str:
    """What went wrong between here and the hub, and what can be done."""
    if isinstance(error, HfHubHTTPError):
        status, host = error.response.status_code, _host(str(error.response.url))
        if isinstance(error, RevisionNotFoundError):
            return f"{name} has no such revision on {host}"
        if isinstance(error, GatedRepoError) or status == 403:
            return f"{name} is not open to everyone: accept its terms on {host} and set HF_TOKEN"
        if status in (401, 404):
            return f"{host} has no model {hub_id(name)}, or it is private (then set HF_TOKEN)"
        if status == 429:
            wait = error.response.headers.get("Retry-After", "")
            when = f"in {wait} s" if wait.isdigit() else "later"
            return f"{name}: too many requests to {host}; try again {when}"
        return f"{name}: {host} answered {status}; try again later"
    host = _host(str(error.request.url))
    if isinstance(error, httpx2.ConnectError):
        return f"{name}: cannot connect to {host}: {error}{surroundings()}"
    return f"{name}: the connection to {host} broke ({error or type(error).__name__})"


def _host(address: str) -> str:
    return urlsplit(address).netloc or address
