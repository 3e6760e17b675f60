"""What narrow weights cost in quality: python -m benchmarks.perplexity --model models/storyteller

Perplexity of held-out text in windows of the whole context, every token but the first of a window
predicted, by the native runner: float32, bfloat16 and int8 see the same windows.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from minivault.engine.native.runner import NativeRunner
from minivault.engine.runner import Dtype

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "int8")


def main() -> None:
    options = _options()
    text = (options.text or options.model / "valid.txt").read_text(encoding="utf-8")
    tokens = Tokenizer.from_file(str(options.model / "tokenizer.json")).encode(text).ids
    rows: list[dict[str, Any]] = []
    for dtype in DTYPES:
        runner = NativeRunner(options.model, dtype=dtype, threads=options.threads)
        found = perplexity(runner, tokens[: options.tokens], options.window)
        rows.append({"dtype": dtype, "perplexity": found, "worse_percent": 0.0})
        rows[-1]["worse_percent"] = 100 * (found / rows[0]["perplexity"] - 1)
    if options.json:
        print(json.dumps({"tokens": min(options.tokens, len(tokens)), "rows": rows}, indent=1))
    else:
        for row in rows:
            print(f"{row['dtype']:9} {row['perplexity']:9.4f} {row['worse_percent']:+7.3f} %")


def perplexity(runner: NativeRunner, tokens: list[int], window: int | None = None) -> float:
    """Of all tokens but the first of each window; windows do not overlap."""
    size = min(window or runner.context_length, runner.context_length)
    losses = [
        runner.losses(tokens[begin : begin + size])
        for begin in range(0, len(tokens) - 1, size)
        if begin + 1 < len(tokens)
    ]
    return math.exp(float(np.concatenate(losses).mean()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/storyteller"))
    parser.add_argument("--text", type=Path, help="default: valid.txt of the model")
    parser.add_argument("--tokens", type=int, default=20_000, help="of the text's begin")
    parser.add_argument("--window", type=int, help="default: the model's context")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
