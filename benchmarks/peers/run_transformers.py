"""transformers: one `generate` for the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.peers.order import Task, answer, by_difference, read_order


def main() -> None:
    order = read_order()
    torch.set_num_threads(order.threads)
    dtype = getattr(torch, order.width)
    model: Any = AutoModelForCausalLM.from_pretrained(order.model, dtype=dtype)
    workload = order.workload

    def generate(task: Task) -> int:
        ids = torch.tensor([order.prompt_ids[: task.prompt_tokens]] * task.at_once)
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=workload.temperature,
                top_k=workload.top_k,
                top_p=workload.top_p,
                max_new_tokens=task.new_tokens,
                min_new_tokens=task.new_tokens,
                pad_token_id=0,
            )
        return int(out.shape[0] * (out.shape[1] - ids.shape[1]))

    answer(order, by_difference(generate))


if __name__ == "__main__":
    main()
