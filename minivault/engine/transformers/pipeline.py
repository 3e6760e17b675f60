"""Loads transformers' text-generation pipeline once per model, from safetensors alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch

from minivault.engine.processor import multiplies_bfloat16
from minivault.engine.runner import NATIVE_ONLY
from minivault.engine.tokenizer_files import model_type, transformers_tokenizer
from minivault.engine.transformers.gguf import gguf_model
from minivault.engine.transformers.library import library
from minivault.engine.transformers.numbers import refuse_no_numbers
from minivault.errors import ModelUnusable, in_short
from minivault.gguf import is_gguf

_CONTINUATIONS = ((8, 1), (2, 6))


def chosen_device(device: str) -> torch.device:
    """Where the model runs; `auto` takes a CUDA device if there is one.

    Raises ModelUnusable where a device is asked for that is not there.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ModelUnusable("device cuda: torch finds no CUDA device; use --device cpu")
    return torch.device("cuda" if found and device != "cpu" else "cpu")


def chosen_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """`auto` takes bfloat16 where the device multiplies it in hardware, else float32.

    Raises ModelUnusable for int8 and int4, which transformers' models do not have here.
    """
    if dtype in NATIVE_ONLY:
        raise ModelUnusable(f"dtype {dtype} needs the native runner; use auto, float32 or bfloat16")
    if dtype == "auto":
        on_cuda = device.type == "cuda"
        fast = torch.cuda.is_bf16_supported() if on_cuda else multiplies_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if dtype == "bfloat16" else torch.float32


@cache
def text_generation(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The pipeline of a model's folder or GGUF file; the first call loads it, later ones get it.

    Never reads pickle, never runs code that comes with a model, never asks the network. Raises
    ModelUnusable.
    """
    transformers = library()
    try:
        if is_gguf(folder):
            model = gguf_model(folder, dtype)
        else:
            model = _from_safetensors(transformers, folder, dtype)
    except ModelUnusable:
        raise
    except BaseException as error:  # the library raises anything
        raise ModelUnusable(f"transformers cannot load {folder}: {in_short(error)}") from error
    refuse_no_numbers(model.named_parameters())
    return transformers.pipeline(
        "text-generation",
        model=model.to(device),
        tokenizer=transformers_tokenizer(folder),
        device=device,
    )


def _from_safetensors(transformers: Any, folder: Path, dtype: torch.dtype) -> Any:
    kind = model_type(folder)
    if kind is not None and kind not in transformers.CONFIG_MAPPING:
        known = f"transformers {transformers.__version__} does not know"
        raise ModelUnusable(f"{folder} holds a model of type {kind[:80]!r}, which {known}")
    config = transformers.AutoConfig.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )
    if config.is_encoder_decoder:
        raise ModelUnusable(_of_another_kind(folder, config, "turns one text into another"))
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelUnusable(_of_another_kind(folder, config, "does not continue text by itself"))
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    _refuse_gaps(folder, model, report)
    _refuse_readers(folder, model)
    return model


def _refuse_readers(folder: Path, model: Any) -> None:
    """A model that fills gaps in a text, reading it both ways, would write nonsense."""
    # Only some families say whether they are decoders, and some of these always are.
    if getattr(model.config, "is_decoder", None) is not False:
        return
    with torch.inference_mode():
        one, other = (
            model(input_ids=torch.tensor([[5, 3, *rest]])).logits[0, 1] for rest in _CONTINUATIONS
        )
    if not torch.allclose(one, other, rtol=1e-3, atol=1e-3):
        raise ModelUnusable(_of_another_kind(folder, model.config, "reads texts and fills gaps"))


def _of_another_kind(folder: Path, config: Any, what: str) -> str:
    name = ", ".join(config.architectures or [config.model_type])[:80]
    return (
        f"{folder} holds a {name}, which {what}; "
        "wanted is a model that continues text (a causal language model)"
    )


def _refuse_gaps(folder: Path, model: Any, report: dict[str, Any]) -> None:
    """Weights that the files lack would be random numbers, of which transformers only warns."""
    made_for = model.config.architectures or [type(model).__name__]
    for problem in ("missing_keys", "mismatched_keys"):
        names = sorted(str(name) for name in report.get(problem) or ())
        if names and type(model).__name__ not in made_for:
            what = f"lacks what writes text ({names[0]})"
            raise ModelUnusable(_of_another_kind(folder, model.config, what))
        if names:
            raise ModelUnusable(f"{folder}: {problem.replace('_', ' ')}: {', '.join(names[:5])}")
