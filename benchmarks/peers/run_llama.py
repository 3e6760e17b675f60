"""llama.cpp through llama-cpp-python's C functions: all sequences in one `llama_decode` a step."""

from __future__ import annotations

from typing import Any

import llama_cpp as llama  # type: ignore[import-not-found]  # in the peers' environment

from benchmarks.peers.order import Order, answer, read_order


class Batch:
    """Some sequences that llama.cpp continues together, each with a sampler of its own."""

    def __init__(self, model: Any, order: Order, sequences: int) -> None:
        params = llama.llama_context_default_params()
        room = len(order.prompt_ids) + order.workload.new_tokens + 8
        params.n_ctx = room * sequences
        params.n_batch = params.n_ubatch = max(512, len(order.prompt_ids) * sequences)
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = order.threads
        params.kv_unified = False
        self._context = llama.llama_init_from_model(model, params)
        self._memory = llama.llama_get_memory(self._context)
        self._batch = llama.llama_batch_init(params.n_batch, 0, 1)
        self._samplers = [_sampler(order, seed) for seed in range(sequences)]
        self._prompt = order.prompt_ids

    def generate(self, sequences: int, tokens: int) -> int:
        """Continues the prompt by so many tokens in every sequence; returns how many came out."""
        assert sequences == len(self._samplers)
        llama.llama_memory_clear(self._memory, True)
        last = self._prefill()
        drawn = 0
        for step in range(tokens):
            chosen = [
                llama.llama_sampler_sample(sampler, self._context, place)
                for sampler, place in zip(self._samplers, last, strict=True)
            ]
            drawn += len(chosen)
            if step + 1 < tokens:
                last = self._decode(chosen, len(self._prompt) + step)
        return drawn

    def close(self) -> None:
        llama.llama_batch_free(self._batch)
        llama.llama_free(self._context)

    def _prefill(self) -> list[int]:
        """The prompt in every sequence; where in the batch each one's last token stands."""
        self._batch.n_tokens = 0
        for sequence in range(len(self._samplers)):
            for position, token in enumerate(self._prompt):
                self._add(token, position, sequence, position + 1 == len(self._prompt))
        self._run()
        length = len(self._prompt)
        return [length * (sequence + 1) - 1 for sequence in range(len(self._samplers))]

    def _decode(self, tokens: list[int], position: int) -> list[int]:
        self._batch.n_tokens = 0
        for sequence, token in enumerate(tokens):
            self._add(token, position, sequence, True)
        self._run()
        return list(range(len(tokens)))

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


def main() -> None:
    order = read_order()
    llama.llama_backend_init()
    silent = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(silent, None)
    params = llama.llama_model_default_params()
    model = llama.llama_model_load_from_file(order.model.encode(), params)
    if not model:
        raise RuntimeError(f"llama.cpp cannot read {order.model}")
    for size in order.batches:
        batch = Batch(model, order, size)
        answer(order.told(batches=(size,)), batch.generate)
        batch.close()


if __name__ == "__main__":
    main()
