"""transformers: one `generate` for the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.peers.order import answer, read_order


def main() -> None:
    order = read_order()
    torch.set_num_threads(order.threads)
    dtype = getattr(torch, order.width)
    model: Any = AutoModelForCausalLM.from_pretrained(order.model, dtype=dtype)
    workload = order.workload

    def generate(batch: int, tokens: int) -> int:
        ids = torch.tensor([order.prompt_ids] * batch)
        with torch.inference_mode():
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=workload.temperature,
                top_k=workload.top_k,
                top_p=workload.top_p,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                pad_token_id=0,
            )
        return int(out.shape[0] * (out.shape[1] - ids.shape[1]))

    answer(order, generate)


if __name__ == "__main__":
    main()
