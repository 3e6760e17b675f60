"""What OpenAI's interface costs more than /generate: `python -m benchmarks.doors`. Linux.

One server, asked by turns by readers of /generate and by as many of OpenAI's clients for Python.
Those take far more time than the server itself, and share its cores; so what is compared is the
processor time of the server's loop, which does all that the doors do differently.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.overhead import loop_seconds, serve
from minivault.bench.machine import describe, sentence
from minivault.bench.models import SHAPES, make_random_model
from minivault.bench.process import ServerProcess, run_module
from minivault.bench.report import markdown
from minivault.bench.workload import Workload
from minivault.engine.processor import available_cores
from minivault.engine.tokenizer import load_tokenizer

DOORS = ("/generate", "/v1/completions", "/v1/chat/completions")


async def ask_all(port: int, door: str, clients: int, prompt: str, tokens: int) -> dict[str, Any]:
    """All clients at once, each a stream; how long it took, and how many tokens came."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=600)
    body: dict[str, Any] = {
        "model": "",
        "max_tokens": tokens,
        "top_p": 0.95,
        "extra_body": {"top_k": 50},
    }
    body |= {"stream": True, "stream_options": {"include_usage": True}}

    async def one(seed: int) -> int:
        if door.endswith("chat/completions"):
            messages: Any = [{"role": "user", "content": prompt}]
            stream = await client.chat.completions.create(messages=messages, seed=seed, **body)
        else:
            stream = await client.completions.create(prompt=prompt, seed=seed, **body)
        made: list[int] = [each.usage.completion_tokens async for each in stream if each.usage]
        return made[-1]

    begin = time.perf_counter()
    made = await asyncio.gather(*map(one, range(clients)))
    return {"tokens": sum(made), "seconds": time.perf_counter() - begin}


def wave(process: ServerProcess, door: str, clients: int, prompt: str, tokens: int) -> list[float]:
    """Microseconds of the loop for each token, and tokens per second, of one wave."""
    before = loop_seconds(process.pid)
    if door == "/generate":
        workload = Workload(new_tokens=tokens, rounds=1)
        order = {"port": process.port, "prompt": prompt, "at_once": [clients]}
        [row] = run_module("minivault.bench.clients", order | {"workload": workload.fields()})
        made, speed = 2 * clients * tokens, row["tokens_per_second"]  # one wave warms up
    else:
        order = {"port": process.port, "door": door, "clients": clients, "prompt": prompt}
        [row] = run_module("benchmarks.doors", order | {"tokens": tokens})
        made, speed = row["tokens"], row["tokens"] / row["seconds"]
    return [(loop_seconds(process.pid) - before) / made * 1e6, speed]


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = make_random_model(Path(place), SHAPES[asked.shape])
        tokenizer = load_tokenizer(folder)
        prompt = tokenizer.decode(Workload().prompt(tokenizer.encode))
        options = ("--model", str(folder), "--dtype", asked.dtype, "--threads", str(asked.threads))
        found: dict[str, list[list[float]]] = {door: [] for door in DOORS}
        with serve(*options) as process:
            for _ in range(asked.rounds):
                for door in DOORS:
                    found[door].append(wave(process, door, asked.clients, prompt, asked.tokens))
    rows = {door: [median(each) for each in zip(*found[door], strict=True)] for door in DOORS}
    cost, speed = rows["/generate"]
    told = [
        {
            "door": door,
            "loop_us_per_token": round(us, 1),
            "tokens_per_second": round(rate),
            # Of one core, at the speed that the engine has while readers cost nothing.
            "points_above_generate": round((us - cost) * speed / 1e4, 2),
        }
        for door, (us, rate) in rows.items()
    ]
    return {"machine": describe(), "clients": asked.clients, "doors": told}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.doors", description=__doc__)
    add = parser.add_argument
    add("--clients", type=int, default=16)
    add("--tokens", type=int, default=120)
    add("--rounds", type=int, default=3)
    add("--dtype", default="int8")
    add("--shape", default="distilgpt2", choices=list(SHAPES))
    add("--threads", type=int, default=available_cores())
    add("--json", action="store_true")
    asked = parser.parse_args(arguments)
    result = measure(asked)
    if asked.json:
        print(json.dumps(result))
        return
    columns = list(result["doors"][0])
    rows = [[str(each) for each in row.values()] for row in result["doors"]]
    print(sentence(result["machine"]), markdown(columns, rows), sep="\n\n")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):  # in a process of its own, see `wave`
        print(json.dumps(asyncio.run(ask_all(**json.loads(sys.argv[1])))))
    else:
        main()
