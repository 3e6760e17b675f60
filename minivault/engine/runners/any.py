"""Runs any causal language model that transformers knows, one sequence after the other.

Each sequence is computed alone, so nothing that runs beside it can change its bits.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minivault.engine import sampler
from minivault.engine import sequence as seq
from minivault.engine.likeliest import Row
from minivault.engine.runners.pipeline import chosen_device, chosen_dtype, text_generation

PART = 512
"""Prompts are prefilled in parts of so many tokens, so that others get their turn between them."""

_CACHE_NAMES = ("past_key_values", "cache_params")
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
_NO_CONTEXT = 2048  # for recurrent models and those with relative positions, which name no limit
_PROBE = (5, 3, 8, 1, 9, 2, 6, 4)
_OTHER_PROBE = (7, 2, 4)


class AnyRunner:
    """Drives the model of transformers' text-generation pipeline step by step, with a KV cache.

    A model whose cache is of no common kind is computed anew for every token: slow, but right.
    """

    mode = "one at a time"
    notice: str | None = None

    def __init__(
        self, folder: Path, *, dtype: str = "auto", device: str = "auto", threads: int | None = None
    ) -> None:
        """Loads the weights, or takes those that this process has loaded already.

        Raises ModelUnusable for what transformers cannot load from safetensors without remote code.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = chosen_device(device)
        self._dtype = chosen_dtype(dtype, self._device)
        self._model = text_generation(folder, self._dtype, self._device).model
        accepted = inspect.signature(self._model.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._cache_name = next((name for name in _CACHE_NAMES if name in accepted), None)
        self._keeps_cache = self._cache_agrees()
        self.reproducible = self._repeats()
        self.context_length = _context_length(self._model.config)
        self.vocabulary = self._model.get_output_embeddings().weight.shape[0]
        self.kv_bytes_per_token = self._bytes_per_token()
        self.description = self._describe()

    def reserved_tokens(self, tokens: int) -> int:
        return tokens

    @torch.inference_mode()
    def prefill(self, sequence: seq.Sequence) -> bool:
        """The next part of the prompt but its last token; True once nothing is left."""
        if not self._keeps_cache:
            return True
        state = self._state(sequence)
        left = sequence.prompt[state.length : -1]
        if left:
            self._extend(state, left[:PART] if state.divisible else left)
        return state.length == len(sequence.prompt) - 1

    @torch.inference_mode()
    def decode(self, sequences: Sequence[seq.Sequence]) -> Tensor:
        """Each sequence's logits after its last token, computed one after the other."""
        return torch.stack([self._next(each) for each in sequences])

    def draw(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], Row]:
        return sampler.sample_from(self.decode(sequences).numpy(force=True), sequences)

    def release(self, sequence: seq.Sequence) -> None:
        sequence.cache = None

    def statistics(self) -> Mapping[str, float]:
        return {}

    def _next(self, sequence: seq.Sequence) -> Tensor:
        if not self._keeps_cache:
            return self._forward([*sequence.prompt, *sequence.generated], use_cache=False)
        return self._extend(self._state(sequence), [sequence.last_token])

    def _state(self, sequence: seq.Sequence) -> State:
        state: State = sequence.cache or State(self._model.config)
        sequence.cache = state
        return state

    def _extend(self, state: State, tokens: Sequence[int]) -> Tensor:
        """The logits after `tokens`, which go on where the state ends."""
        logits = self._forward(tokens, use_cache=True, **{str(self._cache_name): state.cache})
        state.length += len(tokens)
        return logits

    def _forward(self, tokens: Sequence[int], **options: Any) -> Tensor:
        """float32 logits (vocabulary,) after the last of these tokens."""
        row = torch.tensor([tokens], device=self._device)
        logits: Tensor = self._model(input_ids=row, **self._options, **options).logits
        return logits[0, -1].float()

    @torch.inference_mode()
    def _cache_agrees(self) -> bool:
        """Whether steps with a cache compute what one pass without it does, but for rounding."""
        try:
            stepped = self._stepped(_PROBE, beside=())
        except Exception:  # noqa: BLE001 (a model with a cache of its own raises anything)
            return False
        whole = self._forward(_PROBE, use_cache=False)
        tolerance = torch.finfo(self._dtype).eps ** 0.5 * float(whole.abs().max())
        return torch.allclose(stepped, whole, rtol=0, atol=tolerance)

    @torch.inference_mode()
    def _repeats(self) -> bool:
        """Whether a sequence gets the same bits again, now with another one beside it."""
        if not self._keeps_cache:
            return torch.equal(*(self._forward(_PROBE, use_cache=False) for _ in range(2)))
        alone = self._stepped(_PROBE, beside=())
        return torch.equal(alone, self._stepped(_PROBE, beside=_OTHER_PROBE))

    def _stepped(self, tokens: Sequence[int], *, beside: Sequence[int]) -> Tensor:
        """The logits after `tokens`: all but two at once, then one by one, others in between."""
        state, other = State(self._model.config), State(self._model.config)
        for part in (tokens[:-2], tokens[-2:-1], tokens[-1:]):
            logits = self._extend(state, part)
            if beside:
                self._extend(other, beside)
        return logits

    @torch.inference_mode()
    def _bytes_per_token(self) -> int:
        """How much a state grows with each token; at least 1, so that nothing is free."""
        if not self._keeps_cache:
            return 1
        state = State(self._model.config)
        self._extend(state, _PROBE)
        before = state.nbytes
        self._extend(state, _OTHER_PROBE[:1])
        return max(1, state.nbytes - before)

    def _describe(self) -> Mapping[str, Any]:
        return {
            "runner": "transformers",
            "architecture": type(self._model).__name__,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": self._device.type,
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        }


class State:
    """What is kept of one sequence: transformers' cache, and for how many tokens it stands.

    `divisible` says that a prompt may be computed in parts; a recurrent layer wants it whole.
    """

    def __init__(self, config: Any) -> None:
        from transformers import DynamicCache

        self.cache = DynamicCache(config=config)
        self.length = 0
        self.divisible = not any("Linear" in type(layer).__name__ for layer in self.cache.layers)

    @property
    def nbytes(self) -> int:
        kept = (value for layer in self.cache.layers for value in vars(layer).values())
        return sum(value.nbytes for value in kept if isinstance(value, Tensor))


def _context_length(config: Any) -> int:
    text = config.get_text_config()
    named = (getattr(text, name, None) for name in _CONTEXT_NAMES)
    return next((length for length in named if isinstance(length, int)), _NO_CONTEXT)
