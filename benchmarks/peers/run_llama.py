"""llama.cpp through llama-cpp-python's C functions: all sequences in one `llama_decode` a step."""

from __future__ import annotations

import time
from typing import Any

import llama_cpp as llama  # type: ignore[import-not-found]  # in the peers' environment

from benchmarks.peers.order import LONG, Order, Task, Times, answer, read_order

_AT_ONCE = 512  # tokens computed in one go, llama.cpp's own default


class Batch:
    """Some sequences that llama.cpp continues together, each with a sampler of its own."""

    def __init__(self, model: Any, order: Order, task: Task) -> None:
        params = llama.llama_context_default_params()
        room = task.prompt_tokens + task.new_tokens + 8
        params.n_ctx = room * task.at_once
        params.n_batch = max(_AT_ONCE, task.prompt_tokens * task.at_once)
        params.n_ubatch = _AT_ONCE
        params.n_seq_max = task.at_once
        params.n_threads = params.n_threads_batch = order.threads
        params.kv_unified = False
        self._context = llama.llama_init_from_model(model, params)
        self._memory = llama.llama_get_memory(self._context)
        self._batch = llama.llama_batch_init(params.n_batch, 0, 1)
        self._samplers = [_sampler(order, seed) for seed in range(task.at_once)]
        self._prompt = order.prompt_ids[: task.prompt_tokens]
        self._tokens = task.new_tokens

    def generate(self) -> Times:
        """Continues the prompt by so many tokens in every sequence."""
        begin = time.perf_counter()
        if len(self._prompt) < LONG or len(self._samplers) == 1:
            ends = self._prefill(len(self._samplers))
            drawn = list(map(self._draw, self._samplers, ends))
        else:
            [end] = self._prefill(1)
            drawn = [self._draw(sampler, end) for sampler in self._samplers]
            self._copy_first()
        first = time.perf_counter()
        for step in range(self._tokens - 1):
            self._decode(drawn, len(self._prompt) + step)
            drawn = [self._draw(sampler, at) for at, sampler in enumerate(self._samplers)]
        rest = time.perf_counter() - first
        return Times(first - begin, rest, (self._tokens - 1) * len(self._samplers))

    def close(self) -> None:
        llama.llama_batch_free(self._batch)
        llama.llama_free(self._context)

    def _draw(self, sampler: Any, place: int) -> int:
        return int(llama.llama_sampler_sample(sampler, self._context, place))

    def _prefill(self, sequences: int) -> list[int]:
        """The prompt in the first sequences; where in the batch each one's last token stands."""
        self._batch.n_tokens = 0
        for sequence in range(sequences):
            for position, token in enumerate(self._prompt):
                self._add(token, position, sequence, position + 1 == len(self._prompt))
        self._run()
        length = len(self._prompt)
        return [length * (sequence + 1) - 1 for sequence in range(sequences)]

    def _copy_first(self) -> None:
        """A long prompt is computed once; a step that is taken back does what the copy puts off."""
        for sequence in range(1, len(self._samplers)):
            llama.llama_memory_seq_cp(self._memory, 0, sequence, -1, -1)
        end = len(self._prompt)
        self._decode([self._prompt[-1]] * len(self._samplers), end)
        for sequence in range(len(self._samplers)):
            llama.llama_memory_seq_rm(self._memory, sequence, end, -1)

    def _decode(self, tokens: list[int], position: int) -> None:
        self._batch.n_tokens = 0
        for sequence, token in enumerate(tokens):
            self._add(token, position, sequence, True)
        self._run()

    def _add(self, token: int, position: int, sequence: int, logits: bool) -> None:
        place = self._batch.n_tokens
        self._batch.token[place] = token
        self._batch.pos[place] = position
        self._batch.n_seq_id[place] = 1
        self._batch.seq_id[place][0] = sequence
        self._batch.logits[place] = logits
        self._batch.n_tokens += 1

    def _run(self) -> None:
        if llama.llama_decode(self._context, self._batch):
            raise RuntimeError("llama_decode failed")


def _sampler(order: Order, seed: int) -> Any:
    workload = order.workload
    chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
    for sampler in (
        llama.llama_sampler_init_top_k(workload.top_k),
        llama.llama_sampler_init_top_p(workload.top_p, 1),
        llama.llama_sampler_init_temp(workload.temperature),
        llama.llama_sampler_init_dist(seed),
    ):
        llama.llama_sampler_chain_add(chain, sampler)
    return chain


def load_model(file: str) -> Any:
    """A model of llama.cpp, which says nothing. Raises RuntimeError if it cannot be read."""
    llama.llama_backend_init()
    llama.llama_log_set(_silent, None)
    model = llama.llama_model_load_from_file(file.encode(), llama.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot read {file}")
    return model


_silent = llama.llama_log_callback(lambda level, text, data: None)


def main() -> None:
    order = read_order()
    model = load_model(order.model)

    def run(task: Task) -> Times:
        batch = Batch(model, order, task)
        try:
            return batch.generate()
        finally:
            batch.close()

    answer(order, run)


if __name__ == "__main__":
    main()
