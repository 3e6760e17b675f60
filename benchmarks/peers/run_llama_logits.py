"""What llama.cpp expects after each token of some texts: float32 logits in files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import llama_cpp as llama  # type: ignore[import-not-found]  # in the peers' environment
import numpy as np

from benchmarks.peers.run_llama import load_model


def logits(model: Any, tokens: list[int], threads: int) -> np.ndarray:
    """After each token but the last (tokens - 1, vocabulary), all in one batch."""
    count = len(tokens) - 1
    params = llama.llama_context_default_params()
    params.n_ctx = params.n_batch = max(512, count)
    params.n_threads = params.n_threads_batch = threads
    context = llama.llama_init_from_model(model, params)
    batch = llama.llama_batch_init(count, 0, 1)
    for place, token in enumerate(tokens[:-1]):
        batch.token[place] = token
        batch.pos[place] = place
        batch.n_seq_id[place] = 1
        batch.seq_id[place][0] = 0
        batch.logits[place] = True
    batch.n_tokens = count
    if llama.llama_decode(context, batch):
        raise RuntimeError("llama_decode failed")
    width = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    found = np.ctypeslib.as_array(llama.llama_get_logits(context), (count, width)).copy()
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    return found


def main(order: dict[str, Any]) -> None:
    """Prints one JSON object for each text: its file, and the width of a row."""
    model = load_model(order["model"])
    for place, tokens in enumerate(order["texts"]):
        found = logits(model, tokens, order["threads"])
        file = Path(order["folder"]) / f"{place}.float32"
        found.tofile(file)
        print(json.dumps({"file": str(file), "vocabulary": found.shape[1]}), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
