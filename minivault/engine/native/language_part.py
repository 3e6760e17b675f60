"""The language model of one that also sees pictures: its settings and weights lie inside of others.

Without a picture the others do nothing, so that what is left is a model of a family we know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.engine.native.checkpoint import Checkpoint, Shape
from minivault.engine.native.config import Config
from minivault.engine.native.families import IDLE
from minivault.engine.native.groups import Groups
from minivault.engine.native.numbers import Array
from minivault.engine.runner import Dtype, Unsupported

#: By the family of the whole: the families that its language model may be of, and what these take
#: where the settings inside say nothing.
_WHOLES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "gemma3": (
        ("gemma3_text",),
        {
            "vocab_size": 262_208,
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "num_hidden_layers": 26,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-6,
            "sliding_window": 4096,
        },
    ),
    "mistral3": (("mistral", "ministral3"), {}),
}
_OF_PICTURES = (
    "boi_token_id",
    "boi_token_index",
    "eoi_token_id",
    "eoi_token_index",
    "image_token_id",
    "image_token_index",
    "mm_tokens_per_image",
    "multimodal_projector_bias",
    "projector_hidden_act",
    "spatial_merge_size",
    "vision_config",
    "vision_feature_layer",
)
# What names begin with, in files of today and of before.
_INSIDE = {
    "model.language_model.": "model.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "lm_head.": "lm_head.",
}
_BESIDE = (
    "model.vision_tower.",
    "vision_tower.",
    "model.multi_modal_projector.",
    "multi_modal_projector.",
)


def language_part(source: Checkpoint) -> Checkpoint:
    """Of a model that sees; any other is what it is.

    Raises Unsupported where the whole says what is not known, or the part is of another family.
    """
    settings = source.config
    if settings.get("model_type") not in _WHOLES or "text_config" not in settings:
        return source
    families, usual = _WHOLES[settings["model_type"]]
    config = Config(settings)
    inside = config.get("text_config")
    if not isinstance(inside, Mapping):
        raise config.wrong("text_config")
    kind = inside.get("model_type", families[0])
    if kind not in families:
        raise Unsupported(f"it does not know text_config.model_type = {str(kind)[:40]!r}")
    names = {_inside(name): name for name in source.shapes if not name.startswith(_BESIDE)}
    tied = config.flag("tie_word_embeddings", default="lm_head.weight" not in names)
    config.skip(*IDLE, *_OF_PICTURES)
    config.finish()
    said = {**usual, "model_type": kind, "tie_word_embeddings": tied, **inside}
    return _Part(said, source, names)


def _inside(name: str) -> str:
    """A tensor's name in a model that is its language part alone."""
    for begin, instead in _INSIDE.items():
        if name.startswith(begin):
            return instead + name.removeprefix(begin)
    return name  # which nobody knows: it will be said


@dataclass(frozen=True, slots=True)
class _Part:
    """A checkpoint by other names: `names` leads to the whole's."""

    config: Mapping[str, Any]
    whole: Checkpoint
    names: Mapping[str, str]

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return {name: self.whole.shapes[own] for name, own in self.names.items()}

    @property
    def dtype(self) -> Dtype:
        return self.whole.dtype

    @property
    def widths(self) -> str:
        return self.whole.widths

    def tensor(self, name: str) -> Array:
        return self.whole.tensor(self.names[name])

    def weight(self, name: str, *, inputs_first: bool = False) -> Array | Groups:
        return self.whole.weight(self.names[name], inputs_first=inputs_first)
