"""`minivault doctor`: what this machine gives MiniVault, what it costs where something is missing.

Each check answers for itself and none ends the others: what a check raises is its finding.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Literal

from minivault.backends import optional
from minivault.background import describe
from minivault.bench import machine
from minivault.bench.bandwidth import read_bandwidth
from minivault.engine.processor import available_cores
from minivault.errors import DownloadFailed, MiniVaultError
from minivault.libraries import INTERFACES, lacking, libraries
from minivault.loading import ModelLoading
from minivault.model_store import DEFAULT, ModelStore
from minivault.open_files import connection_limit, shortage
from minivault.settings import Settings
from minivault.stage import Stage
from minivault.system import gives_back_freed, has_large_pages, unnoticed_readers
from minivault.variables import complaints
from minivault.vault.private_file import Folder
from minivault.vault.publishing.bucket import Away
from minivault.vault.publishing.publisher import open_parties
from minivault.vault.publishing.shipping import WRITERS, shipped
from minivault.vault.reader import Reader
from minivault.vault.tree.proof import witnessed

#: Seconds that the hub gets to answer.
_PATIENCE = 3.0

#: Bytes below which downloads and logs run into a full disk soon.
_LITTLE_ROOM = 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    `good`; `costs`: something is slower, larger or missing, and every promise holds; `broken`:
    something that MiniVault promises does not hold here. `remedy` says what would mend it.
    """

    subject: str
    verdict: Literal["good", "costs", "broken"]
    text: str
    remedy: str = ""


Check = Callable[[Settings], Iterable[Finding]]
CHECKS: list[Check] = []


def _check(check: Check) -> Check:
    """Their findings are printed in the order in which they stand here: what is installed, the
    machine, the model, the rest.
    """
    CHECKS.append(check)
    return check


def examine(settings: Settings) -> Iterator[Finding]:
    """All findings, each as soon as it is known. Loads the model; takes some seconds."""
    for check in CHECKS:
        try:
            yield from check(settings)
        except Exception as error:  # noqa: BLE001 - whatever a check raises is what it found
            words = str(error) if isinstance(error, MiniVaultError) else describe(error)
            yield Finding(check.__name__.strip("_"), "broken", words)


@_check
def _versions(settings: Settings) -> Iterator[Finding]:
    strangers = [each for each in libraries() if not each.within]
    for library in strangers:
        package = f"{library.name}{library.tested}"
        yield Finding("versions", "costs", f"{library}: not tested", f"pip install '{package}'")
    for package in INTERFACES:
        for missing in lacking(package):
            yield Finding("versions", "broken", f"{package} has no {missing}", "make install")
    if not libraries():
        yield Finding(
            "versions", "costs", "MiniVault is not installed as a package", "make install"
        )
    elif not strangers:
        yield Finding("versions", "good", "every library lies in the range that was tested")


@_check
def _settings(settings: Settings) -> Iterator[Finding]:
    sentences = list(complaints())
    for sentence in sentences:
        yield Finding("settings", "costs", sentence)
    if not sentences:
        yield Finding("settings", "good", "every MINIVAULT_ variable is one")


@_check
def _machine(settings: Settings) -> Iterator[Finding]:
    found, threads = machine.describe(), settings.threads or available_cores()
    flags = " ".join(found["flags"]) or "no vector instructions known"
    yield Finding("processor", "good", f"{found['processor']}, {threads} threads ({flags})")
    speed = read_bandwidth(threads, seconds=0.5) / 1e9
    yield Finding("memory", "good", f"{found['memory_gb']} GB, read at {speed:.0f} GB/s")


@_check
def _system(settings: Settings) -> Iterator[Finding]:
    lacks = [sentence] if (sentence := unnoticed_readers()) else []
    if not has_large_pages():
        lacks.append("weights lie in small pages of memory, which are read more slowly")
    if not gives_back_freed():
        lacks.append("what was freed when a model was loaded stays with the process until used")
    for sentence in lacks:
        yield Finding("system", "costs", sentence)
    if not lacks:
        yield Finding(
            "system", "good", "large pages allowed, freed memory given back, readers watched"
        )


@_check
def _open_files(settings: Settings) -> Iterator[Finding]:
    few = shortage(settings)
    if few:
        yield Finding("files", "costs", few)
    else:
        yield Finding("files", "good", f"{connection_limit(settings)} connections fit")


@_check
def _model(settings: Settings) -> Iterator[Finding]:
    store = ModelStore(settings.models_dir, offline=True)
    choice = store.choose(settings.model)
    if choice.why and choice.model:
        text = f"{choice.wanted} is not on this machine; {choice.model.name} serves instead"
        yield Finding("model", "costs", text, f"minivault pull {quote(choice.wanted)}")
    if choice.model is None:
        return
    problems = store.check(choice.model.name if settings.model is None else settings.model)
    for problem in problems:
        yield Finding("model", "broken", f"{choice.model.name}: {problem}")
    if not problems:
        yield Finding("model", "good", f"{choice.model.name} is whole ({choice.model.folder})")


@_check
def _engine(settings: Settings) -> Iterator[Finding]:
    """Loads the model as a server does; what a start would warn of is a finding."""
    told = _Told()
    logger = logging.getLogger("minivault")
    logger.addHandler(told)
    try:
        yield from asyncio.run(_loaded(settings))
    finally:
        logger.removeHandler(told)
    for sentence in told.sentences:
        yield Finding("engine", "costs", sentence)


async def _loaded(settings: Settings) -> list[Finding]:
    loading = ModelLoading(settings.model_copy(update={"offline": True}), Stage())
    loading.choose()
    backend = await loading.load()
    info = backend.info
    facts = ", ".join(f"{name} {value}" for name, value in info.engine.items())
    share = optional.statistics(backend).get("large_pages")
    if share is not None:
        facts += f"; {share:.0%} of its weights in large pages"
    findings = [Finding("engine", "good", f"{info.name}: {facts}")]
    if not info.reproducible:
        text = "the same seed does not give the same bytes here; nothing is resumed or replayed"
        findings.append(Finding("engine", "broken", text, "--runner or --dtype may choose another"))
    findings += [Finding("engine", "costs", each) for each in optional.lacks(backend)]
    await optional.close(backend)
    return findings


class _Told(logging.Handler):
    """Collects the warnings of a start."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


@_check
def _hub(settings: Settings) -> Iterator[Finding]:
    store = ModelStore(settings.models_dir, offline=settings.offline)
    if store.offline:
        yield Finding("hub", "good", "not asked: --offline or HF_HUB_OFFLINE is set")
        return
    from minivault.model_store.hub import ask  # brings the hub's client

    try:
        ask(DEFAULT, None, seconds=_PATIENCE)
    except DownloadFailed as error:
        yield Finding("hub", "costs", str(error), "models that are on the disk serve without it")
    else:
        yield Finding("hub", "good", "answers")


@_check
def _folders(settings: Settings) -> Iterator[Finding]:
    for subject, folder in (("models", settings.models_dir), ("logs", settings.logs_dir)):
        there = _nearest(folder)
        room = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK | os.X_OK):
            yield Finding(
                subject, "broken", f"{folder} cannot be written", f"chown or --{subject}-dir"
            )
        elif room < _LITTLE_ROOM:
            yield Finding(
                subject, "costs", f"{folder}: {room / 2**20:.0f} MiB are left on its disk"
            )
        else:
            yield Finding(subject, "good", f"{folder.absolute()} can be written")
    if settings.logs_dir.exists():
        Folder(settings.logs_dir).close()  # raises what keeps a server from using it
    # What holds prompts or keys.
    private = [each.path for each in Reader(settings.logs_dir.expanduser()).segments()]
    keys = (settings.logs_dir / "secret", settings.secret_file, settings.signing_key)
    private += [path for path in keys if path is not None and path.exists()]
    for path in [each for each in sorted(private) if each.stat().st_mode & 0o077]:
        yield Finding("logs", "broken", f"others may read {path}", f"chmod go= {quote(str(path))}")


def _nearest(folder: Path) -> Path:
    """The folder, or the one in which it would be made."""
    there = folder.expanduser().absolute()
    return next(each for each in (there, *there.parents) if each.exists())


@_check
def _publishing(settings: Settings) -> Iterator[Finding]:
    """Whether the bucket answers, and what buckets and witnesses still lack."""
    shipping, witnesses = open_parties(settings)
    if not (shipping or witnesses):
        return
    newest = Reader(settings.logs_dir).last_seq()
    if shipping:
        there = shipped(settings.logs_dir)
        told = f"{shipping.hashes.url} has the log up to record {there.last if there else 0}"
        try:
            for bucket in filter(None, (shipping.hashes, shipping.texts)):
                bucket.names(WRITERS)
        except Away as error:
            remedy = "the log is written all the same, and shipped when it answers"
            yield Finding("shipping", "costs", f"{told} of {newest}: {error}", remedy)
        else:
            yield Finding("shipping", "good", f"{told} of {newest}, and answers")
    if witnesses:
        seen = witnessed(settings.logs_dir)
        asked = [each.key for each in witnesses]
        lacking = [each.name for each in asked if seen is None or each.seen(seen) is None]
        up_to = f"up to record {seen.last if seen else 0} of {newest}"
        if lacking:
            text = f"the newest tree that a witness signed ({up_to}) lacks {', '.join(lacking)}"
            yield Finding("witnesses", "costs", text, "/health of the server says why")
        else:
            yield Finding("witnesses", "good", f"all have signed the log {up_to}")


@_check
def _clock(settings: Settings) -> Iterator[Finding]:
    newest = next(Reader(settings.logs_dir).backwards(), None)
    if newest and datetime.fromisoformat(newest.timestamp).timestamp() > time.time():
        text = f"the clock is behind the log, whose newest record is of {newest.timestamp}"
        yield Finding("clock", "broken", text, "set the clock; records go by it")
    else:
        yield Finding("clock", "good", f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
