"""What narrow weights cost in quality: `python -m benchmarks.quality`.

Texts that the model itself goes on with in float32, and what every width then expects after each of
their tokens: the divergence from float32 (Kullback-Leibler, nats a token), how often the likeliest
token is the same, and the perplexity of the texts. Of a GGUF file every type is made by llama.cpp,
and llama.cpp is asked the same; a folder is read at every width that the engine has.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.contenders import TYPES
from benchmarks.peers.formats import REPOSITORY, GgufFile, Models
from benchmarks.peers.venv import PeersVenv
from benchmarks.tables import Table, report
from benchmarks.texts import TASKS
from minivault.bench import bare
from minivault.bench.machine import describe
from minivault.bench.process import run_module
from minivault.bench.workload import Workload
from minivault.engine.engine import Engine
from minivault.engine.native.runner import NativeRunner
from minivault.engine.processor import available_cores
from minivault.engine.runner import Dtype
from minivault.engine.tokenizer import load_tokenizer
from minivault.gguf import is_gguf

Texts = list[list[int]]
Width = Dtype | Literal["file"]
Spread = NDArray[np.float32]

COLUMNS = ["weights", "by", "divergence", "same likeliest", "perplexity"]
_DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "int8", "int4")
_MOST = 0.01
"""The divergence that 8 bits may cost."""
_OVER_LLAMA = 1.2
"""The divergence that a type of GGUF may cost, times what it costs llama.cpp."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Of one width, over all tokens of the texts but the first of each."""

    divergence: float
    same_likeliest: float
    perplexity: float


def quality(spreads: list[Spread], reference: list[Spread], texts: Texts) -> Quality:
    """`spreads` and `reference`: log probabilities for each text (tokens - 1, vocabulary)."""
    divergence = loss = 0.0
    same = count = 0
    for found, true, tokens in zip(spreads, reference, texts, strict=True):
        wide = true.astype(np.float64)
        divergence += float((np.exp(wide) * (wide - found)).sum())
        loss -= float(found[np.arange(len(found)), tokens[1:]].sum(dtype=np.float64))
        same += int((found.argmax(1) == true.argmax(1)).sum())
        count += len(found)
    return Quality(divergence / count, same / count, math.exp(loss / count))


def continued(runner: NativeRunner, prompts: list[list[int]], length: int) -> Texts:
    """Each prompt with what the model says next, drawn as people draw, up to so many tokens."""
    engine, texts = Engine(runner), []
    for seed, prompt in enumerate(prompts):
        workload = Workload(new_tokens=length - len(prompt), rounds=1)
        sequence = bare.make_sequence(prompt, seed, workload)
        engine.add(sequence)
        while engine.busy:
            engine.step()
        texts.append(prompt + sequence.generated)
    return texts


def spreads(path: Path, dtype: Width, texts: Texts, threads: int) -> list[Spread]:
    """What the native runner expects."""
    runner = NativeRunner(path, dtype=dtype, threads=threads)
    return [runner.log_probabilities(each) for each in texts]


def of_folder(folder: Path, texts: Texts, threads: int) -> Iterator[dict[str, Any]]:
    """Every width of the engine, float32 first."""
    reference = spreads(folder, "float32", texts, threads)
    for dtype in _DTYPES:
        found = quality(spreads(folder, dtype, texts, threads), reference, texts)
        yield {"weights": dtype, "by": "MiniVault", **asdict(found)}


def of_types(models: Models, python: Path, texts: Texts, threads: int) -> Iterator[dict[str, Any]]:
    """Every type of GGUF, ours and llama.cpp's by turns, and the widths that we make of F32."""
    full = models.gguf("F32")
    reference = spreads(full, "float32", texts, threads)
    for kind in TYPES.values():
        file = models.gguf(kind)
        found = quality(spreads(file, "file", texts, threads), reference, texts)
        yield {"weights": kind, "by": "MiniVault", **asdict(found)}
        found = quality(_llama(file, python, texts, threads), reference, texts)
        yield {"weights": kind, "by": "llama.cpp", **asdict(found)}
    for dtype in ("int8", "int4"):
        found = quality(spreads(full, dtype, texts, threads), reference, texts)
        yield {"weights": dtype, "by": "MiniVault", **asdict(found)}


def _llama(file: Path, python: Path, texts: Texts, threads: int) -> list[Spread]:
    with tempfile.TemporaryDirectory() as place:
        order = {"model": str(file), "texts": texts, "threads": threads, "folder": place}
        module = "benchmarks.peers.run_llama_logits"
        rows = list(run_module(module, order, python=str(python)))
        files = [Path(row["file"]) for row in rows]
        shape = (-1, rows[0]["vocabulary"])
        return [_normalized(np.fromfile(each, np.float32).reshape(shape)) for each in files]


def _normalized(logits: Spread) -> Spread:
    logits -= logits.max(1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    return logits


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    path = _model(asked.model)
    if is_gguf(path):
        venv = PeersVenv(REPOSITORY / "build" / "peers-venv")
        for module in ("gguf", "llama_cpp"):
            if why := venv.install(module):
                raise SystemExit(f"error: llama.cpp is not to be had: {why}")
        source = GgufFile(path)
        models = Models(REPOSITORY / "build" / "peers-models" / source.name, source, venv.python)
        path = models.gguf("F32")
    encode = load_tokenizer(path).encode
    prompts = [encode(each) for each in _prompts()[: asked.texts]]
    texts = continued(
        NativeRunner(path, dtype="float32", threads=asked.threads), prompts, asked.tokens
    )
    if is_gguf(path):
        rows = list(of_types(models, venv.python, texts, asked.threads))
    else:
        rows = list(of_folder(path, texts, asked.threads))
    return {
        "machine": describe(),
        "model": asked.model.name,
        "texts": len(texts),
        "tokens": asked.tokens,
        "rows": rows,
    }


def _model(path: Path) -> Path:
    """The folder, or the GGUF file in it."""
    return next(iter(sorted(path.glob("*.gguf"))), path) if path.is_dir() else path


def _prompts() -> list[str]:
    """One of each kind of task, and again."""
    return [each for some in zip(*TASKS.values(), strict=True) for each in some]


def cells(row: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """A row as words, in the order of COLUMNS."""
    theirs = [
        each["divergence"]
        for each in rows
        if each["by"] == "llama.cpp" and each["weights"] == row["weights"]
    ]
    bounds = [_OVER_LLAMA * each for each in theirs]
    bounds += [_MOST] if row["weights"] in ("Q8_0", "int8") else []
    divergence = f"{row['divergence']:.5f}"
    if row["by"] == "MiniVault" and bounds:
        divergence += f" (≤ {min(bounds):.5f})"
        if row["divergence"] > min(bounds):
            divergence = f"**{divergence}**"
    same = f"{row['same_likeliest']:.1%}"
    return [row["weights"], row["by"], divergence, same, f"{row['perplexity']:.3f}"]


def table(result: dict[str, Any]) -> Table:
    rows = [cells(row, result["rows"]) for row in result["rows"]]
    title = (
        f"{result['model']}, {result['texts']} texts of {result['tokens']} tokens, against float32 "
        "(what the divergence may be; bold: it is more)"
    )
    return Table(title, COLUMNS, rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/smollm2"), help="a folder or a GGUF file")
    add("--texts", type=int, default=6)
    add("--tokens", type=int, default=256, help="of each text")
    add("--threads", type=int, default=available_cores())
    report(parser, arguments, measure, table)


if __name__ == "__main__":
    main()
