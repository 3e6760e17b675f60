"""Runs any causal language model that transformers knows, one sequence after the other.

Each sequence is computed alone, so nothing that runs beside it can change its bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minivault.engine import sampler
from minivault.engine import sequence as seq
from minivault.engine.likeliest import Row
from minivault.engine.runner import USUAL_CONTEXT
from minivault.engine.transformers.driven import DrivenModel, Text
from minivault.engine.transformers.pipeline import chosen_device, chosen_dtype, text_generation
from minivault.errors import ModelUnusable, in_short

PART = 512
"""Prompts are computed in parts of so many tokens, so that others get their turn between them."""

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")
_NO_CONTEXT = 2048  # for recurrent models and those with relative positions, which name no limit
_PROBE = (5, 3, 8, 1, 9, 2, 6, 4)
_OTHER_PROBE = (7, 2, 4)


class TransformersRunner:
    """Drives the model of transformers' text-generation pipeline step by step, with its cache.

    A model that has none, or none that gives the right numbers, is computed anew for every token:
    slow, but right. `notice` and `description` say so, and why.
    """

    mode = "one at a time"
    notice: str | None = None

    def __init__(
        self,
        folder: Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        threads: int | None = None,
        context: int | None = None,
        tokens: int | None = None,
    ) -> None:
        """Loads the weights, or takes those that this process has loaded already.

        `context`: tokens of a text at most; None for as many as the model can, up to 8192.
        `tokens`: so many of its ids may be drawn.

        Raises ModelUnusable for what transformers cannot load from safetensors without remote code,
        and for what it loads and cannot write text with.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self._dtype = chosen_dtype(dtype, chosen_device(device))
        model = text_generation(folder, self._dtype, chosen_device(device)).model
        self._architecture, self._device = type(model).__name__, model.device
        text = model.config.get_text_config()
        named = (getattr(text, name, None) for name in _CONTEXT_NAMES)
        longest = next((length for length in named if isinstance(length, int)), None)
        self.context_length = min(context or USUAL_CONTEXT, longest or context or _NO_CONTEXT)
        width = model.get_output_embeddings().weight.shape[0]
        self.vocabulary = min(tokens or width, width)
        self.embedded = model.get_input_embeddings().weight.shape[0]
        self._driven = DrivenModel(model)
        try:
            self._try_out()
        except BaseException as error:  # a model raises anything
            raise ModelUnusable(
                f"transformers {version('transformers')} cannot write text with this "
                f"{self._architecture}: {in_short(error)}"
            ) from error
        lacks = [self.notice, *self._unknown(longest, context)]
        self.notice = "; ".join(filter(None, lacks)) or None

    def reserved_tokens(self, tokens: int) -> int:
        return tokens + self._fixed_tokens

    @torch.inference_mode()
    def prefill(self, sequence: seq.Sequence) -> bool:
        """The next part of the prompt; the last one is left to `decode`, as the seam allows.

        A prompt that may not be divided is its own last part.
        """
        text = self._text(sequence)
        left = len(sequence.prompt) - text.length
        if self._driven.divisible and left > PART:
            left -= PART
            text.extend(sequence.prompt[text.length : -left], min(left, PART))
        return left <= PART or not self._driven.divisible

    @torch.inference_mode()
    def decode(self, sequences: Sequence[seq.Sequence]) -> Tensor:
        """Each sequence's logits after its last token, computed one after the other."""
        return torch.stack([self._next(each)[: self.vocabulary] for each in sequences])

    def draw(self, sequences: Sequence[seq.Sequence]) -> tuple[list[int], list[Row]]:
        logits = self.decode(sequences).numpy(force=True)
        asked = any(each.asks_logprobs for each in sequences)
        original = logits.copy() if asked else logits  # drawing changes it in place
        tokens = [sampler.sample(*pair) for pair in zip(logits, sequences, strict=True)]
        return tokens, list(original)

    def is_ahead(self, sequence: seq.Sequence) -> bool:
        return False

    def release(self, sequence: seq.Sequence) -> None:
        sequence.cache = None

    def lacks(self) -> Iterable[str]:
        return ()

    def statistics(self) -> Mapping[str, float]:
        return {}

    def _next(self, sequence: seq.Sequence) -> Tensor:
        text = self._text(sequence)
        return text.extend(sequence.prompt[text.length :] or (sequence.last_token,))

    def _text(self, sequence: seq.Sequence) -> Text:
        text: Text = sequence.cache or self._driven.begin()
        sequence.cache = text
        return text

    @torch.inference_mode()
    def _try_out(self) -> None:
        """Finds out what can be promised of this model: a cache, the same bits, memory."""
        if reason := self._no_cache():
            self._driven.caches = self._driven.divisible = False
            self.notice = f"every token costs the whole text anew, which is slow: {reason}"
        if self._driven.divisible:  # the same, but for rounding, when it is computed in parts
            text, middle = self._driven.begin(), len(_PROBE) // 2 + 1
            text.extend(_PROBE[:middle], len(_PROBE) - middle)
            whole = self._driven.begin().extend(_PROBE)
            self._driven.divisible = self._alike(text.extend(_PROBE[middle:]), whole)
        alone, _ = self._stepped(_PROBE, beside=())
        self.reproducible = torch.equal(alone, self._stepped(_PROBE, beside=_OTHER_PROBE)[0])
        self.kv_bytes_per_token, self._fixed_tokens = self._memory()
        self.description: Mapping[str, Any] = {
            "runner": "transformers",
            "architecture": self._architecture,
            "dtype": str(self._dtype).removeprefix("torch."),
            "device": self._device.type,
            "threads": torch.get_num_threads(),
            "cpu": torch.backends.cpu.get_cpu_capability(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "cache": f"none: {reason}" if reason else "kept",
            "prompt": "in parts" if self._driven.divisible else "at once",
        }

    def _unknown(self, longest: int | None, context: int | None) -> Iterator[str]:
        """What was assumed of this model, in sentences."""
        if longest is None and context is None:
            yield (
                f"the model names no longest text, so {_NO_CONTEXT} tokens are taken: --context "
                "says otherwise"
            )
        if self._driven.caches and self._is_cache_unknown:
            yield (
                "what its cache takes cannot be seen, so --kv-memory does not bound it: "
                "--max-running does"
            )

    def _no_cache(self) -> str | None:
        """Why this model is to be driven without a cache; None if it has one that is right.

        Steps with a cache must compute what one pass without it does, but for rounding, and what
        another text does in between must not matter.
        """
        driven, name = self._driven, self._architecture
        stepped, computed = self._stepped(_PROBE, beside=())
        if computed > 1:
            return f"{name} keeps no cache in transformers {version('transformers')}"
        driven.caches = False
        whole = driven.begin().extend(_PROBE)
        driven.caches = True
        if not self._alike(stepped, whole):
            return f"the cache of this {name} gives other numbers than the whole text"
        if not self._alike(stepped, self._stepped(_PROBE, beside=_OTHER_PROBE)[0]):
            return f"{name} has one cache for all texts, which would change each other"
        return None

    def _alike(self, one: Tensor, other: Tensor) -> bool:
        tolerance = torch.finfo(self._dtype).eps ** 0.5 * float(other.abs().max())
        return torch.allclose(one, other, rtol=0, atol=tolerance)

    def _stepped(self, tokens: Sequence[int], *, beside: Sequence[int]) -> tuple[Tensor, int]:
        """The logits after `tokens`: all but two at once, then one by one, others in between.

        And of how many positions the last were made.
        """
        text, other = self._driven.begin(), self._driven.begin()
        for part in (tokens[:-2], tokens[-2:-1], tokens[-1:]):
            logits = text.extend(part)
            if beside:
                other.extend(beside[: len(part)])
        return logits, text.computed

    def _memory(self) -> tuple[int, int]:
        """How many bytes a text grows by with each token; and as how many tokens it begins.

        At least 1, so that nothing is free.
        """
        text = self._driven.begin()
        text.extend(_PROBE)
        before = text.nbytes
        self._is_cache_unknown = before == 0
        text.extend(_OTHER_PROBE[:1])
        growth = text.nbytes - before
        fixed = max(0, before - growth * len(_PROBE))
        return max(1, growth), fixed // max(1, growth)
