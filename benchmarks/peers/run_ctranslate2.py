"""CTranslate2: `generate_batch` of its own copy of the model."""

from __future__ import annotations

from pathlib import Path

import ctranslate2  # type: ignore[import-not-found]  # in the peers' environment

from benchmarks.peers.order import Task, answer, by_difference, read_order


def main() -> None:
    order = read_order()
    generator = ctranslate2.Generator(
        order.model,
        device="cpu",
        compute_type=order.width,
        inter_threads=1,
        intra_threads=order.threads,
    )
    words = (Path(order.model) / "prompt.txt").read_text(encoding="utf-8").split("\n")
    workload = order.workload

    def generate(task: Task) -> int:
        results = generator.generate_batch(
            [words[: task.prompt_tokens]] * task.at_once,
            max_length=task.new_tokens,
            min_length=task.new_tokens,
            sampling_temperature=workload.temperature,
            sampling_topk=workload.top_k,
            sampling_topp=workload.top_p,
            include_prompt_in_result=False,
            max_batch_size=0,
        )
        return sum(len(each.sequences_ids[0]) for each in results)

    answer(order, by_difference(generate))


if __name__ == "__main__":
    main()
