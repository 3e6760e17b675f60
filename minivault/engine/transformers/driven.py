"""A model of transformers, driven through a text step by step as its own `generate` drives it.

`generate` prepares the inputs of a text, its cache among them, and hands them to a loop of the
caller's (`custom_generate`); that loop asks the model what each step wants, and tells it what came.
So whatever a family does around `forward`, and however a version calls it, is transformers' matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minivault.engine.transformers.library import library

# What these make of a position depends on nothing else; other kinds change with a text's length.
_STEADY_ROPES = {"default", "linear", "llama3", "yarn", "proportional"}
# Whose sliding windows are known to give the same when a prompt is computed in parts.
_WINDOWS = {
    "cohere2",
    "exaone4",
    "gemma2",
    "gemma3_text",
    "gpt_oss",
    "llama4_text",
    "ministral",
    "mistral",
    "olmo3",
    "qwen2",
    "qwen3",
    "starcoder2",
}
_GROWING_ROPE = "dynamic"


class DrivenModel:
    """One model, which any number of texts take turns with.

    `divisible` says that a prompt may be computed in parts: nothing in the model depends on where
    they begin. `caches` can be switched off; then every step computes the whole text.
    """

    def __init__(self, model: Any) -> None:
        transformers = library()
        self.model = model
        # How tokens are drawn is not the model's to say, nor where its cache lies.
        model.generation_config = transformers.GenerationConfig()
        self.caches = True
        self.divisible = self._is_divisible(transformers)
        self._growing = [
            module for module in model.modules() if _GROWING_ROPE in _rope_types(module)
        ]
        self._unused = self.factors()

    def begin(self) -> Text:
        """A text that has no token yet."""
        return Text(self, self._unused)

    def prepared(self, row: Tensor) -> dict[str, Any]:
        """What `generate` would call the model with for these first tokens."""
        prepared: dict[str, Any] = {}

        def take(
            model: Any,
            input_ids: Tensor,
            *,
            logits_processor: Any,
            stopping_criteria: Any,
            generation_config: Any,
            **inputs: Any,
        ) -> Tensor:
            prepared.update(inputs)
            return input_ids

        self.model.generate(
            row,
            attention_mask=torch.ones_like(row),
            custom_generate=take,
            max_new_tokens=1,
            use_cache=self.caches,
        )
        return prepared

    def factors(self) -> list[dict[str, Any]]:
        """What rotary embeddings that grow with a text have learnt of its length."""
        return [dict(_changeable(module)) for module in self._growing]

    def use_factors(self, factors: list[dict[str, Any]]) -> None:
        """Gives these embeddings what they knew of another text."""
        for module, values in zip(self._growing, factors, strict=True):
            for name, value in values.items():
                setattr(module, name, value.clone() if isinstance(value, Tensor) else value)

    def _is_divisible(self, transformers: Any) -> bool:
        ours, common = type(self.model), transformers.GenerationMixin
        as_all = all(
            getattr(ours, name) is getattr(common, name)
            for name in ("prepare_inputs_for_generation", "_update_model_kwargs_for_generation")
        )
        ropes = {each for module in self.model.modules() for each in _rope_types(module)}
        cache = transformers.DynamicCache(config=self.model.config.get_text_config(decoder=True))
        kept = {type(layer).__name__ for layer in cache.layers}
        windows = self.model.config.model_type in _WINDOWS
        attention = {"DynamicLayer", *(["DynamicSlidingWindowLayer"] if windows else [])}
        return as_all and ropes <= _STEADY_ROPES and kept <= attention


class Text:
    """One text of a model: its tokens so far, and what the model keeps of them."""

    def __init__(self, model: DrivenModel, factors: list[dict[str, Any]]) -> None:
        self._model = model
        self._factors = factors
        self._tokens: Tensor | None = None
        self._inputs: dict[str, Any] = {}
        self.computed = 0

    @property
    def length(self) -> int:
        return 0 if self._tokens is None else self._tokens.shape[1]

    def extend(self, tokens: Sequence[int], following: int = 1) -> Tensor:
        """The float32 logits (vocabulary,) after these tokens, which go on where the text ends.

        `following`: how many will be given the next time. `computed` says of how many positions
        they were made.
        """
        driven, model = self._model, self._model.model
        new, first = torch.tensor([tokens], device=model.device), self._tokens is None
        if first:
            self._inputs = driven.prepared(new)
        self._tokens = row = new if self._tokens is None else torch.cat([self._tokens, new], dim=1)
        inputs = model.prepare_inputs_for_generation(
            row,
            next_sequence_length=None if first or not driven.caches else len(tokens),
            is_first_iteration=first,
            **self._inputs,
        )
        self.computed = inputs["input_ids"].shape[1]
        driven.use_factors(self._factors)
        outputs = model(**inputs, return_dict=True)
        self._factors = driven.factors()
        more = {} if following == 1 else {"num_new_tokens": following}
        self._inputs = model._update_model_kwargs_for_generation(outputs, self._inputs, **more)
        logits: Tensor = outputs.logits
        return logits[0, -1].float()

    @property
    def nbytes(self) -> int:
        """The memory that is kept of it, but for its tokens."""
        inputs = self._inputs.values()
        return sum(_nbytes(each) for each in inputs if not isinstance(each, Tensor))


def _nbytes(kept: Any, depth: int = 5) -> int:
    """The bytes of all tensors in a cache, however it keeps them: in layers, lists, by name."""
    if isinstance(kept, Tensor):
        return kept.nbytes
    parts = kept.values() if isinstance(kept, dict) else kept
    if not isinstance(kept, dict | list | tuple):
        parts = getattr(kept, "__dict__", {}).values()
    return sum(_nbytes(each, depth - 1) for each in parts) if depth else 0


def _rope_types(module: nn.Module) -> set[str]:
    """The kinds of rotary embedding that a module computes, if it does."""
    kinds = getattr(module, "rope_type", None)
    return {str(each) for each in (kinds.values() if isinstance(kinds, dict) else [kinds])} - {
        "None"
    }


def _changeable(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The numbers of a module that are no weights, by name; tensors as copies."""
    for name, value in {**vars(module), **dict(module.named_buffers(recurse=False))}.items():
        if isinstance(value, Tensor):
            yield name, value.clone()
        elif isinstance(value, int | float) and not name.startswith("_") and name != "training":
            yield name, value
