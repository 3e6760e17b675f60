"""How `minivault logs replay` gets a model: the one of the record, found by its hash."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

from minivault.backends import optional
from minivault.backends.base import Backend
from minivault.backends.named import BUILT_IN, backend_class
from minivault.cli.logs_view import printable
from minivault.cli.waiting import waiting
from minivault.errors import CannotStart, ModelNotFound
from minivault.generations.replay import origin_of, tell
from minivault.loading import started
from minivault.model_store import ModelStore, StoredModel
from minivault.settings import Settings
from minivault.vault.chain import Progress
from minivault.vault.record import Record
from minivault.vault.replay import Replay, Verdict, obstacle, replay

#: What of a record's engine can be set again.
_CHOICES = ("dtype", "threads", "device", "runner")

Get = Callable[[int], Record]  # a record by its number
Say = Callable[[str], AbstractContextManager[None]]  # what one waits for, while it lasts


@asynccontextmanager
async def loaded(settings: Settings, record: Record) -> AsyncIterator[Backend]:
    """The model that a record names, loaded as it was then. Raises CannotStart."""
    backend = await started(_backend(settings, record))
    try:
        yield backend
    finally:
        await optional.close(backend)


def _backend(settings: Settings, record: Record) -> Backend:
    if settings.backend not in (None, "local"):
        return _made(str(settings.backend))
    name = str(record.model.get("name"))
    if name in BUILT_IN and name != "local":
        return _made(name)
    model = _model(ModelStore(settings.models_dir, offline=True), record)
    return _made("local", _as_then(settings, record), model)


def _made(name: str, *arguments: Any) -> Backend:
    backend: Backend = backend_class(name)(*arguments)
    return backend


def _model(store: ModelStore, record: Record) -> StoredModel:
    wanted = record.model.get("sha256")
    for model in store.models():
        if model.sha256 == wanted:
            return model
    name = record.model.get("name")
    raise ModelNotFound(f"its model {name} with the sha256 {str(wanted)[:8]}… is not here")


def _as_then(settings: Settings, record: Record) -> Settings:
    """The settings with the record's runner, dtype and the like, where none were given."""
    given = settings.model_fields_set
    then = {name: record.engine[name] for name in _CHOICES if name in record.engine}
    if then.get("runner") == "gpt2":  # as version 0.1 said it
        if record.engine.get("kernels") == "torch":
            raise CannotStart("its runner, GPT-2 by torch's operators, is no longer there")
        then["runner"] = "native"
    if "dtype" in then and then["dtype"] not in get_args(Settings.model_fields["dtype"].annotation):
        then["dtype"] = "auto"  # a GGUF file's own widths, which its hash stands for
    return settings.model_copy(update={k: v for k, v in then.items() if k not in given})


def replay_all(
    settings: Settings,
    get: Get,
    seqs: list[int],
    progress: Progress | None,
    *,
    as_json: bool,
    quiet: bool,
) -> bool:
    """Replays records and prints the verdicts; of many only what is not the same, and the sums.

    Returns whether any differs.
    """
    verdicts: Counter[Verdict] = Counter()

    def report(result: Replay) -> None:
        verdicts[result.verdict] += 1
        if as_json:
            print(json.dumps(_data(result)), flush=True)
        elif not quiet or result.verdict is not Verdict.SAME:
            print(printable(str(result)), flush=True)
        if progress:
            progress(1)

    # A bar has the line already.
    say: Say = (lambda _: nullcontext()) if progress or as_json else waiting
    asyncio.run(_replay_all(settings, get, seqs, report, say))
    if quiet and not as_json:
        print(", ".join(f"{verdicts[verdict]} {verdict.value}" for verdict in Verdict))
    return verdicts[Verdict.DIFFERS] > 0


def _data(result: Replay) -> dict[str, Any]:
    """The verdict without the text, which the log has but where it differs."""
    return {name: value for name, value in asdict(result).items() if name != "text"}


async def _replay_all(
    settings: Settings, get: Get, seqs: list[int], report: Callable[[Replay], None], say: Say
) -> None:
    """Groups the records by what made them, so that each model is loaded once."""
    groups: dict[str, list[int]] = {}
    for record in map(get, seqs):
        if why := obstacle(record):
            if len(seqs) == 1 or not record.is_redaction:
                report(Replay(record.seq, Verdict.NOT_REPRODUCIBLE, why=why))
        else:
            made_by = json.dumps([record.model, record.engine], sort_keys=True)
            groups.setdefault(made_by, []).append(record.seq)
    for group in groups.values():
        name = printable(str(get(group[0]).model.get("name")))
        try:
            async with AsyncExitStack() as stack:
                with say(f"loading {name}"):
                    backend = await stack.enter_async_context(loaded(settings, get(group[0])))
                for seq in group:
                    with say(f"{name} writes the text of record {seq} again"):
                        result = await _replayed(get(seq), backend)
                    report(result)
        except CannotStart as error:
            for seq in group:
                report(Replay(seq, Verdict.NOT_REPRODUCIBLE, why=str(error)))


async def _replayed(record: Record, backend: Backend) -> Replay:
    try:
        return await replay(record, partial(tell, backend), origin_of(backend))
    except Exception as error:  # noqa: BLE001 - one record that fails must not end the rest
        why = f"the backend failed ({type(error).__name__})"
        return Replay(record.seq, Verdict.NOT_REPRODUCIBLE, why=why)
