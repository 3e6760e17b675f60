"""GPT-2 checkpoints with random weights, in the layouts that exist in the wild.

    folder = save_gpt2(tmp_path, layout=LAYOUTS["bare names"], shape=DISTILGPT2)

The same seed gives the same weights in every layout, so that every layout must give the same text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from minivault.resources import resource

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Shape:
    """How large a GPT-2 is."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int


#: distilgpt2's own: 82 million parameters, 328 MB in fp32.
DISTILGPT2 = Shape(layers=6, width=768, heads=12, vocabulary=50257, context=1024)
TINY = Shape(layers=2, width=32, heads=2, vocabulary=8192, context=128)


@dataclass(frozen=True)
class Layout:
    """How a checkpoint is written: names, superfluous tensors, width, number of files.

    `prefix`: names begin with `transformer.`; `buffers`: the causal masks that older versions of
    transformers saved as attn.bias and attn.masked_bias; `head`: the tied embedding once more, as
    lm_head.weight.
    """

    prefix: bool = True
    buffers: bool = False
    head: bool = False
    dtype: torch.dtype = torch.float32
    shards: int = 1


LAYOUTS = {
    "as saved today": Layout(),
    "bare names": Layout(prefix=False),
    "bare names with masks": Layout(prefix=False, buffers=True),
    "bare names with head": Layout(prefix=False, head=True),
    "masks": Layout(buffers=True),
    "head": Layout(head=True),
    "masks and head": Layout(buffers=True, head=True),
    "half": Layout(dtype=torch.float16),
    "half with masks and head": Layout(buffers=True, head=True, dtype=torch.float16),
    "sharded": Layout(shards=3),
    "sharded bare names with masks and head": Layout(
        prefix=False, buffers=True, head=True, shards=2
    ),
    "sharded half": Layout(dtype=torch.float16, shards=2),
}


def save_gpt2(
    folder: Path,
    *,
    layout: Layout | None = None,
    shape: Shape = TINY,
    seed: int = 0,
    extra: Tensors | None = None,
) -> Path:
    """A whole GPT-2 in a folder, with a tokenizer. `extra`: tensors under names of their own."""
    layout = layout or Layout()
    folder.mkdir(parents=True, exist_ok=True)
    tensors = _named(gpt2_tensors(shape, seed=seed), layout, shape) | (extra or {})
    _save_weights(folder, tensors, shards=layout.shards)
    _save_config(folder, shape, layout.dtype)
    save_tokenizer(folder, vocabulary=shape.vocabulary)
    return folder


def gpt2_tensors(shape: Shape, *, seed: int = 0) -> Tensors:
    """The weights of a GPT-2 in fp32 by their names without `transformer.`.

    Drawn wide, so that greedy text does not fall into one token for ever.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes: dict[str, tuple[int, ...]] = {
        "wte.weight": (shape.vocabulary, shape.width),
        "wpe.weight": (shape.context, shape.width),
    }
    for layer in range(shape.layers):
        sizes |= {f"h.{layer}.{name}": size for name, size in _block_sizes(shape.width).items()}
    sizes |= {"ln_f.weight": (shape.width,), "ln_f.bias": (shape.width,)}
    return {
        name: torch.randn(size, generator=generator) * 0.1 + float(_is_scale(name))
        for name, size in sizes.items()
    }


def _block_sizes(width: int) -> dict[str, tuple[int, ...]]:
    return {
        "ln_1.weight": (width,),
        "ln_1.bias": (width,),
        "attn.c_attn.weight": (width, 3 * width),
        "attn.c_attn.bias": (3 * width,),
        "attn.c_proj.weight": (width, width),
        "attn.c_proj.bias": (width,),
        "ln_2.weight": (width,),
        "ln_2.bias": (width,),
        "mlp.c_fc.weight": (width, 4 * width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (4 * width, width),
        "mlp.c_proj.bias": (width,),
    }


def _is_scale(name: str) -> bool:
    """The weights of layer norms are drawn around one, all else around zero."""
    return ".weight" in name and "ln_" in name


def _named(tensors: Tensors, layout: Layout, shape: Shape) -> Tensors:
    head = {"lm_head.weight": tensors["wte.weight"].clone()} if layout.head else {}
    masks = _masks(shape) if layout.buffers else {}
    wide = {name: tensor.to(layout.dtype) for name, tensor in (tensors | head).items()}
    prefix = "transformer." if layout.prefix else ""
    return {
        name if name == "lm_head.weight" else prefix + name: tensor
        for name, tensor in (wide | masks).items()
    }


def _masks(shape: Shape) -> Tensors:
    masks: Tensors = {}
    for layer in range(shape.layers):
        square = torch.ones(shape.context, shape.context, dtype=torch.uint8)
        masks[f"h.{layer}.attn.bias"] = square.tril()[None, None].clone()
        masks[f"h.{layer}.attn.masked_bias"] = torch.tensor(-10000.0)
    return masks


def _save_weights(folder: Path, tensors: Tensors, *, shards: int) -> None:
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    where: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard::shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _save_config(folder: Path, shape: Shape, dtype: torch.dtype) -> None:
    end = shape.vocabulary - 1
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_layer": shape.layers,
        "n_embd": shape.width,
        "n_head": shape.heads,
        "n_positions": shape.context,
        "n_ctx": shape.context,
        "vocab_size": shape.vocabulary,
        "layer_norm_epsilon": 1e-05,
        "bos_token_id": end,
        "eos_token_id": end,
        "dtype": str(dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def save_tokenizer(folder: Path, *, vocabulary: int) -> None:
    """The storyteller's tokenizer, filled up to `vocabulary` entries; the last one ends the text.

    The added entries can be drawn and decoded, but no text is encoded to them.
    """
    source = resource("models/storyteller")
    tokenizer = json.loads((source / "tokenizer.json").read_bytes())
    entries = tokenizer["model"]["vocab"]
    size = len(entries)
    entries |= {f"Ġword{number}": number for number in range(size, vocabulary)}
    first = next(text for text, number in entries.items() if number == vocabulary - 1)
    entries["<|endoftext|>"], entries[first] = vocabulary - 1, 0
    tokenizer["added_tokens"][0]["id"] = vocabulary - 1
    text = json.dumps(tokenizer, ensure_ascii=False)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    settings = (source / "tokenizer_config.json").read_bytes()
    (folder / "tokenizer_config.json").write_bytes(settings)
