"""vLLM's build for processors: its engine in this process, compiled as it comes."""

from __future__ import annotations

import os

from benchmarks.peers.order import Task, answer, by_difference, read_order


def main() -> None:
    # What vLLM and its processes print goes to the terminal: the figures alone are looked for.
    figures = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]  # not in our environment
    from vllm.inputs import TokensPrompt  # type: ignore[import-not-found]

    order = read_order()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{order.threads - 1}")
    longest = max(task.prompt_tokens + task.new_tokens for task in order.tasks)
    model = LLM(
        model=order.model,
        dtype=order.width,
        max_model_len=longest + 8,
        max_num_seqs=max(task.at_once for task in order.tasks),
        enable_prefix_caching=False,
        disable_log_stats=True,
    )
    workload = order.workload

    def generate(task: Task) -> int:
        params = SamplingParams(
            temperature=workload.temperature,
            top_k=workload.top_k,
            top_p=workload.top_p,
            max_tokens=task.new_tokens,
            ignore_eos=True,
            detokenize=False,
        )
        prompt = TokensPrompt(prompt_token_ids=list(order.prompt_ids[: task.prompt_tokens]))
        outputs = model.generate([prompt] * task.at_once, params, use_tqdm=False)
        return sum(len(each.outputs[0].token_ids) for each in outputs)

    answer(order, by_difference(generate), figures)


if __name__ == "__main__":
    main()
