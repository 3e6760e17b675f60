"""A family of models is a description: the decoder computes what transformers computes of it."""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from minivault.engine.native import gpt2
from minivault.engine.native.checkpoint import Checkpoint, open_checkpoint
from minivault.engine.native.decoder import Decoder
from minivault.engine.native.families import plan_of
from minivault.engine.native.language_part import language_part
from minivault.engine.native.numbers import Array
from minivault.engine.native.prefix_cache import CHUNK
from minivault.engine.native.runner import NativeRunner
from minivault.engine.runner import Dtype, Unsupported
from minivault.errors import ModelUnusable
from tests.engine.gpt2_models import random_prompt
from tests.gguf import models
from tests.gguf.files import reference, save
from tests.tools import mostly_slow, tool

BORDER = 40
PROMPT, TEXT = 70, 200
LONG = {"num_hidden_layers": 4, "max_position_embeddings": 512}
WIDE = {"head_dim": 32, "sliding_window": None}


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


#: Of each: the family in transformers, and what its settings say beside the common ones. The text
#: goes over the border where factors change and out of every window.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"num_hidden_layers": 2}),
    "llama, biased": (
        "llama",
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 24},
    ),
    "llama, odd sizes": (
        "llama",
        {"hidden_size": 60, "num_attention_heads": 6, "head_dim": 10, "intermediate_size": 50},
    ),
    "llama, linear": ("llama", rope("linear", factor=3.0)),
    "llama, dynamic": ("llama", rope("dynamic", factor=3.0)),
    "llama, yarn": (
        "llama",
        rope("yarn", factor=4.0, original_max_position_embeddings=BORDER),
    ),
    "llama 3": (
        "llama",
        rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=BORDER,
        ),
    ),
    "llama, longrope": (
        "llama",
        rope(
            "longrope",
            short_factor=[1.0] * 8,
            long_factor=[1.0 + n for n in range(8)],
            original_max_position_embeddings=BORDER,
        ),
    ),
    "mistral": ("mistral", {"head_dim": 32, "sliding_window": 33}),
    "mistral without a window": ("mistral", WIDE),
    "ministral 3": (
        "ministral3",
        WIDE
        | rope(
            "yarn",
            factor=16.0,
            original_max_position_embeddings=BORDER,
            max_position_embeddings=512,
            mscale=1.0,
            mscale_all_dim=1.0,
            llama_4_scaling_beta=0.1,
        ),
    ),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen2 with windows": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1},
    ),
    "qwen3": ("qwen3", {"head_dim": 32, "attention_bias": True}),
    "smollm3": ("smollm3", {"tie_word_embeddings": True}),
    "granite": (
        "granite",
        {
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "logits_scaling": 8.0,
            "attention_multiplier": 0.0625,
        },
    ),
    "gemma3": (
        "gemma3_text",
        {
            "num_hidden_layers": 7,
            "head_dim": 32,
            "sliding_window": 20,
            "query_pre_attn_scalar": 32,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
    ),
    "phi3": ("phi3", {"original_max_position_embeddings": 512, "sliding_window": 33}),
    "phi3, longrope": (
        "phi3",
        {
            "original_max_position_embeddings": BORDER,
            **rope(
                "longrope",
                short_factor=[1.0] * 6,
                long_factor=[1.0 + n for n in range(6)],
                partial_rotary_factor=0.75,
            ),
        },
    ),
    "olmo2": ("olmo2", {"attention_bias": True}),
}


class InMemory:
    """A checkpoint of a model that was never saved; its settings as a file would say them."""

    def __init__(self, model: Any) -> None:
        self.config: dict[str, Any] = json.loads(model.config.to_json_string())
        self._tensors: dict[str, Array] = {
            name: each.detach().numpy() for name, each in model.state_dict().items()
        }
        if model.config.tie_word_embeddings:
            del self._tensors["lm_head.weight"]
        self.shapes = {name: tuple(each.shape) for name, each in self._tensors.items()}

    dtype: Dtype = "float32"
    widths = "float32"

    def tensor(self, name: str) -> Array:
        return self._tensors[name]

    def weight(self, name: str, *, inputs_first: bool = False) -> Array:
        assert not inputs_first
        return self._tensors[name]


def made(name: str) -> Any:
    """A model of transformers with random weights, its norms and biases told apart."""
    transformers = importlib.import_module("transformers")
    family, own = FAMILIES[name]
    config = transformers.AutoConfig.for_model(
        family, **copy.deepcopy({**models.COMMON, **LONG, **own})
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in (each for each in model.parameters() if each.dim() == 1):
        torch.nn.init.normal_(parameter, 1.0, 0.5)
    return model


def decoder_of(source: Checkpoint, context: int = 512, dtype: Dtype = "float32") -> Decoder:
    plan = plan_of(source.config)
    tool("cc")
    description = plan.describe(source, context) if plan else gpt2.describe(source, context)
    decoder = Decoder(description, dtype=dtype, threads=1, slots=2)
    assert decoder.reproducible
    return decoder


def prefilled(decoder: Decoder, tokens: list[int]) -> Tensor:
    """The logits after all of these tokens."""
    slot, found = decoder.cache.take(), []
    for begin in range(0, len(tokens), CHUNK):
        part = tokens[begin : begin + CHUNK]
        decoder.prefill(slot, begin, part)
        found.append(decoder.logits(len(part)).copy())
    decoder.cache.give_back(slot)
    return torch.from_numpy(np.concatenate(found))


def greedy(decoder: Decoder, prompt: list[int], count: int) -> list[int]:
    slot = decoder.cache.take()
    tokens = list(prompt)
    for begin in range(0, len(prompt) - 1, CHUNK):
        decoder.prefill(slot, begin, prompt[begin : min(begin + CHUNK, len(prompt) - 1)])
    for _ in range(count):
        decoder.run(tokens[-1:], [slot], [len(tokens) - 1])
        tokens.append(int(decoder.logits(1)[0].argmax()))
    decoder.cache.give_back(slot)
    return tokens


def closeness(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", mostly_slow(FAMILIES, "llama", "gemma3", "phi3, longrope"))
@torch.inference_mode()
def test_greedy_text_and_logits_are_those_of_transformers_beyond_every_border(name: str) -> None:
    """Each token that is said is the likeliest of what transformers computes before it."""
    model = made(name)
    decoder = decoder_of(InMemory(model))
    tokens = greedy(decoder, random_prompt(3, PROMPT, 96), TEXT)
    expected = model(torch.tensor([tokens])).logits[0]
    assert tokens[PROMPT:] == expected.argmax(-1)[PROMPT - 1 : -1].tolist()
    assert len(set(tokens[PROMPT:])) > 1, "a text that says nothing"
    assert closeness(prefilled(decoder, tokens), expected) < 1e-4


@pytest.mark.parametrize("name", ["llama, longrope", "phi3, longrope"])
@torch.inference_mode()
def test_a_context_within_what_was_trained_takes_the_factors_of_short_texts(name: str) -> None:
    model = made(name)
    tokens = random_prompt(4, BORDER, 96)
    source = InMemory(model)
    expected = model(torch.tensor([tokens])).logits[0]
    assert closeness(prefilled(decoder_of(source, BORDER), tokens), expected) < 1e-4
    assert closeness(prefilled(decoder_of(source), tokens), expected) > 1e-2


@pytest.mark.parametrize("name", mostly_slow(models.MODELS, "gemma3"))
@torch.inference_mode()
def test_a_gguf_file_gives_what_its_source_computes(name: str, tmp_path: Path) -> None:
    model = models.make(name)
    path = models.save_gguf(name, tmp_path / "tiny.gguf", model, reference())
    tokens = random_prompt(5, 100, 96)
    expected = model(torch.tensor([tokens])).logits[0]
    found = prefilled(decoder_of(open_checkpoint(path), 128), tokens)
    assert closeness(found, expected) < 1e-4
    assert torch.equal(found.argmax(-1), expected.argmax(-1)), "what it says greedily"


#: Types of a file's matrices, in turn.
MIXES: dict[str, list[str]] = {
    "Q8_0": ["Q8_0"],
    "Q4_0": ["Q4_0"],
    "Q4_1+Q8_0": ["Q4_1", "Q4_1", "Q8_0"],
    "Q5_0+Q8_0+F16+Q4_0": ["Q5_0", "Q8_0", "F16", "Q4_0", "Q5_0"],
}


def quantized_tensors(kinds: list[str], model: Any, gguf: Any) -> dict[str, Any]:
    """The matrices in these types, in turn."""
    made = {}
    for number, (name, given) in enumerate(models.tensors("llama", model, gguf).items()):
        kind, shape, raw = given
        if len(shape) == 2:
            kind = kinds[number % len(kinds)]
            values = raw.view(np.float32).reshape(shape)
            number = getattr(gguf.GGMLQuantizationType, kind)
            raw = gguf.quants.quantize(values, number).view(np.uint8).ravel()
        made[name] = (kind, shape, raw)
    return made


@pytest.mark.parametrize("name", mostly_slow(MIXES, "Q5_0+Q8_0+F16+Q4_0"))
@torch.inference_mode()
def test_a_gguf_file_keeps_its_own_widths(name: str, tmp_path: Path) -> None:
    """Also where queries, keys and values, or gates and what they gate, are of several."""
    gguf, model = reference(), models.make("llama")
    tensors = quantized_tensors(MIXES[name], model, gguf)
    path = save(tmp_path / "tiny.gguf", models.metadata("llama", model.config), tensors)
    tokens = random_prompt(7, 100, 96)
    source = open_checkpoint(path, "file")
    assert set(source.widths.split("+")) == set(MIXES[name])
    expected = prefilled(decoder_of(open_checkpoint(path), 128), tokens)
    found = prefilled(decoder_of(source, 128, source.dtype), tokens)
    assert closeness(found, expected) < 0.1
    runner = NativeRunner(path, dtype="file", threads=1, tokens=90)
    assert runner.description["dtype"] == source.widths
    assert runner.vocabulary == 90
    assert runner.reproducible


@pytest.mark.parametrize("dtype", get_args(Dtype))
@pytest.mark.parametrize("name", mostly_slow(["llama", "qwen3", "gemma3", "olmo2"], "gemma3"))
@torch.inference_mode()
def test_narrow_weights_come_close(name: str, dtype: Dtype) -> None:
    model = made(name)
    tokens = random_prompt(3, 100, 96)
    expected = model(torch.tensor([tokens])).logits[0]
    bound = {"float32": 1e-4, "bfloat16": 0.15, "int8": 0.35, "int4": 1.5}[dtype]
    assert closeness(prefilled(decoder_of(InMemory(model), dtype=dtype), tokens), expected) < bound


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in several files."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    made("llama, biased").save_pretrained(folder, max_shard_size="50KB")
    return folder


@torch.inference_mode()
def test_several_files_are_one_model(folder: Path) -> None:
    assert len(list(folder.glob("*.safetensors"))) > 2
    tokens = random_prompt(6, 30, 96)
    found, expected = (
        prefilled(decoder_of(source), tokens)
        for source in (open_checkpoint(folder), InMemory(made("llama, biased")))
    )
    assert torch.equal(found, expected)


@torch.inference_mode()
def test_the_older_form_of_the_settings_says_the_same(folder: Path) -> None:
    """As files of the hub are: what turns positions stands beside, much is left out or null."""
    config = json.loads((folder / "config.json").read_text())
    theta = config.pop("rope_parameters")["rope_theta"]
    config |= {"rope_theta": theta, "rope_scaling": None, "torch_dtype": "bfloat16"}
    config |= {"rope_interleaved": False, "is_llama_config": True, "pretraining_tp": 1}
    del config["hidden_act"]
    assert same_plan(config, json.loads((folder / "config.json").read_text()))
    scaled = config | {"rope_scaling": {"type": "linear", "factor": 2.0}}
    assert not same_plan(scaled, config)


def same_plan(one: dict[str, Any], other: dict[str, Any]) -> bool:
    plans = [plan_of(each) for each in (one, other)]
    steps = [plan.ropes[0].steps for plan in plans if plan]
    return bool((steps[0] == steps[1]).all()) and len({repr(plan) for plan in plans}) == 1


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"model_type": "falcon"}, "model type falcon"),
        ({"layer_scale": 0.5}, "it does not know layer_scale = 0.5"),
        ({"hidden_act": "xielu"}, "it does not know hidden_act = 'xielu'"),
        ({"quantization_config": {"bits": 4}}, r"it does not know quantization_config = \{'bits"),
        ({"rms_norm_eps": None}, "the settings lack rms_norm_eps"),
        ({"num_key_value_heads": 3}, "it does not know num_key_value_heads = 3"),
        ({"hidden_size": 0}, "it does not know hidden_size = 0"),
        ({"hidden_size": "64"}, "it does not know hidden_size = '64'"),
        ({"attention_bias": 1}, "it does not know attention_bias = 1"),
        ({"rope_parameters": {"rope_type": "axial"}}, r"rope_parameters\.rope_type = 'axial'"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "beta": 1}},
            r"it does not know rope_parameters\.beta = 1",
        ),
        ({"rope_parameters": {"rope_type": "linear"}}, r"lack rope_parameters\.factor"),
        ({"model_type": "mistral", "attention_bias": None, "mlp_bias": None}, "sliding_window"),
        ({"model_type": "granite", "logits_scaling": float("inf")}, "logits_scaling = inf"),
        ({"model_type": "qwen2", "layer_types": ["chunked"] * 4}, "layer_types"),
    ],
)
def test_a_setting_that_is_not_known_is_refused_by_name(
    folder: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    for file in folder.glob("model*"):
        (tmp_path / file.name).symlink_to(file)
    with pytest.raises(Unsupported, match=says):
        NativeRunner(tmp_path, dtype="float32", threads=1)


def test_tensors_that_are_missing_unknown_or_of_another_shape_are_named() -> None:
    model = made("llama")

    def said(change: Any) -> str:
        source = InMemory(model)
        change(source.shapes)
        with pytest.raises((ModelUnusable, Unsupported)) as error:
            decoder_of(source)
        return str(error.value)

    down = "model.layers.1.mlp.down_proj.weight"
    assert f"1 tensors are missing: {down}" in said(lambda shapes: shapes.pop(down))
    assert f"configuration says: {down}" in said(lambda shapes: shapes.update({down: (64, 95)}))
    assert "it does not know the tensor lora" in said(lambda shapes: shapes.update(lora=(1,)))


SEEING: dict[str, dict[str, Any]] = {
    "gemma3": {
        "mm_tokens_per_image": 4,
        "text_config": {
            "model_type": "gemma3_text",
            "head_dim": 32,
            "sliding_window": 20,
            "query_pre_attn_scalar": 32,
        },
        "vision_config": {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14},
    },
    "mistral3": {
        "text_config": {"model_type": "mistral", "head_dim": 32, "sliding_window": None},
        "vision_config": {"model_type": "pixtral", "head_dim": 16},
        "tie_word_embeddings": False,
    },
}
EYES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def seeing(family: str) -> Any:
    """A model that looks at pictures, too."""
    transformers = importlib.import_module("transformers")
    own = copy.deepcopy(SEEING[family])
    own["text_config"] |= models.COMMON | LONG
    own["vision_config"] |= EYES
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **own)
    return transformers.AutoModelForImageTextToText.from_config(config).eval()


@pytest.mark.parametrize("family", mostly_slow(SEEING, "gemma3"))
@torch.inference_mode()
def test_of_a_model_that_sees_the_language_is_served(family: str, tmp_path: Path) -> None:
    """By the names that files have, and by those of transformers, also with settings left out."""
    model = seeing(family)
    model.save_pretrained(tmp_path)
    tokens = random_prompt(6, 100, 96)
    expected = model(torch.tensor([tokens])).logits[0]
    saved, told = open_checkpoint(tmp_path), InMemory(model)
    assert {each.partition(".")[0] for each in saved.shapes} != {"model", "lm_head"}
    for each in (saved, told):
        assert closeness(prefilled(decoder_of(language_part(each)), tokens), expected) < 1e-4
    if family == "gemma3":
        del told.config["text_config"]["rms_norm_eps"]
        assert language_part(told).config["rms_norm_eps"] == 1e-6
    refused = {
        "text_config": ({"model_type": "falcon"}, "text_config.model_type = 'falcon'"),
        "quantization_config": ({"bits": 8}, "it does not know quantization_config"),
    }
    for name, (value, says) in refused.items():
        told.config = json.loads(model.config.to_json_string()) | {name: value}
        with pytest.raises(Unsupported, match=says):
            language_part(told)


@torch.inference_mode()
def test_ids_that_no_token_has_are_never_drawn_and_a_context_may_be_less(folder: Path) -> None:
    runner = NativeRunner(folder, dtype="float32", threads=1, tokens=90, context=100)
    assert (runner.vocabulary, runner.embedded, runner.context_length) == (90, 96, 100)
    assert NativeRunner(folder, dtype="float32", threads=1, context=9999).context_length == 512
