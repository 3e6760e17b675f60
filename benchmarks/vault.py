"""How fast the vault is: records per second, time added to a request, verification.

    python -m benchmarks.vault [--json] [--folder PLACE]

`--folder` says on which disk: what an fsync costs decides most of it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from minivault.vault import Begin, Outcome, Vault
from minivault.vault.chain import Head
from minivault.vault.reader import Reader
from minivault.vault.record import link, render
from minivault.vault.search import Query, search
from minivault.vault.tree.log_tree import LogTree
from minivault.vault.verify import verify

WORDS = ["Once", " upon", " a", " time", " there", " was", " a", " little", " fox"]
TEXT = "".join(WORDS) * 12
MODEL = {"name": "storyteller", "sha256": "0" * 64}
ENGINE = {
    "runner": "gpt2",
    "dtype": "float32",
    "threads": 2,
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "tokenizer_sha256": "0" * 64,
    "reproducible": True,
}
PARAMS = {"max_tokens": 128, "temperature": 0.8, "top_k": 50, "top_p": 0.95, "stop": []}
USAGE = {"prompt_tokens": 9, "completion_tokens": 108}
OUTCOME = Outcome(TEXT, "length", USAGE, {"total_ms": 900.1}, 110)


def measure(folder: Path, records: int, lines: int) -> dict[str, Any]:
    """All figures, by name."""
    return {
        **_throughput(folder / "many", records),
        **_tree(folder, records),
        **_latency(folder / "one", 300),
        **_pieces(folder / "pieces"),
        **_reading(folder / "read", lines),
    }


@contextmanager
def _vault(folder: Path) -> Iterator[Vault]:
    vault = Vault(folder)
    vault.open()
    try:
        yield vault
    finally:
        vault.close()


def _begin(number: int) -> Begin:
    return Begin(f"benchmark-{number}", "Tell me a story.", PARAMS, number, "sse", MODEL, ENGINE)


def _throughput(folder: Path, records: int) -> dict[str, Any]:
    """Thirty-two clients at once, each waits for its begin and for its end."""
    with _vault(folder) as vault:
        started = time.perf_counter()
        for first in range(0, records, 32):
            begins = [vault.begin(_begin(number)) for number in range(first, first + 32)]
            ends = [vault.commit(begin.result(), OUTCOME) for begin in begins]
            for end in ends:
                end.result()
        took = time.perf_counter() - started
        groups = vault.statistics()["writes"]
    return {"records_per_second": records / took, "records_per_fsync": 2 * records / groups}


def _tree(folder: Path, records: int) -> dict[str, Any]:
    """The share of the writer's time that goes to the tree, within one run: its clients wait."""
    spent = 0.0

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal spent
            result, took = _timed(partial(method, *arguments, **named))
            spent += took
            return result

        return call

    methods: dict[str, Any] = {name: timed(getattr(LogTree, name)) for name in ("saw", "follow")}
    with mock.patch.multiple(LogTree, **methods):
        rate = _throughput(folder / "tree", records)["records_per_second"]
    return {"tree_percent_of_the_time": 100 * spent / (records / rate)}


def _latency(folder: Path, count: int) -> dict[str, Any]:
    """One client alone: what the vault adds to its request, and what a bare fsync costs here."""
    begins, ends, syncs = [], [], []
    with _vault(folder) as vault, open(folder / "fsync", "ab", buffering=0) as bare:
        for number in range(count):
            entry, took = _timed(vault.begin(_begin(number)).result)
            begins.append(took)
            ends.append(_timed(vault.commit(entry, OUTCOME).result)[1])
            bare.write(b"x" * 1500)
            syncs.append(_timed(lambda: _fdatasync(bare.fileno()))[1])
    return {
        "begin_ms": statistics.median(begins) * 1000,
        "commit_ms": statistics.median(ends) * 1000,
        "fdatasync_ms": statistics.median(syncs) * 1000,
    }


def _pieces(folder: Path) -> dict[str, Any]:
    """One step of sixteen generations, as the event loop waits for it."""
    with _vault(folder) as vault:
        entries = [vault.begin(_begin(number)).result() for number in range(16)]
        took = [
            _timed(partial(vault.pieces, [(entry, word) for entry in entries]))[1]
            for word in WORDS * 50
        ]
        for entry in entries:
            vault.commit(entry, OUTCOME)
    return {"pieces_of_16_us": statistics.median(took) * 1e6}


def _reading(folder: Path, lines: int) -> dict[str, Any]:
    folder.mkdir()
    path = folder / "log.jsonl"
    _write_log(path, lines)
    size = path.stat().st_size
    hashing = min(
        _timed(lambda: subprocess.run(["sha256sum", path], check=True, capture_output=True))[1]
        for _ in range(3)
    )
    verifying = min(_timed(lambda: verify(folder))[1] for _ in range(3))
    bare = min(_timed(lambda: _sha256(path))[1] for _ in range(3))
    reader = Reader(folder)
    return {
        "log_lines": lines,
        "log_bytes": size,
        "verify_mb_per_second": size / verifying / 1e6,
        "sha256sum_mb_per_second": size / hashing / 1e6,
        "openssl_sha256_mb_per_second": size / bare / 1e6,
        "verify_over_sha256sum": hashing / verifying,
        "newest_page_ms": _timed(lambda: search(reader, Query(), limit=50))[1] * 1000,
        "record_by_number_ms": _timed(lambda: reader.get(lines // 2))[1] * 1000,
        "find_nothing_ms": _timed(lambda: reader.find("nobody"))[1] * 1000,
    }


def _write_log(path: Path, lines: int) -> None:
    head = Head()
    fields = {**_begin(0).fields(), **OUTCOME.fields(), "salt": "0" * 32}
    body = render(fields)
    with open(path, "wb") as file:
        for _ in range(lines):
            line = body + link(head.seq + 1, head.hash, head.redacted)
            head = Head.of(line)
            file.write(line + b"\n")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fdatasync(descriptor: int) -> None:
    from minivault.vault.private_file import sync

    sync(descriptor)


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument("--records", type=int, default=9600, help="records to write")
    parser.add_argument("--lines", type=int, default=200_000, help="lines of the log to read")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vault-", dir=given.folder))
    try:
        figures = measure(folder, given.records, given.lines)
    finally:
        shutil.rmtree(folder)
    if given.json:
        print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):<32} {value:>14,.2f}")


if __name__ == "__main__":
    main()
