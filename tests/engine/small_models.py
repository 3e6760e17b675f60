"""Small models with random weights, of several families, saved as transformers saves them."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from typing import Any

from tokenizers import processors

from tests.engine import vocabularies

STORYTELLER = Path(__file__).parents[2] / "models" / "storyteller"

FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": 256, "n_embd": 64, "n_layer": 3, "n_head": 4},
    "gpt_neox": {
        "max_position_embeddings": 256,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
    },
    "llama": {
        "max_position_embeddings": 1024,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
    },
    "openai-gpt": {"n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 4},
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    "rwkv": {"hidden_size": 64, "num_hidden_layers": 2},
}
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message.role == 'system' %}"
    "{{ raise_exception('no system turns') }}{% endif %}"
    "<s>{{ message.role }}: {{ message.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


def save_model(family: str, folder: Path, *, seed: int = 0) -> Path:
    """A model of this family with random weights, and its tokenizer; ends at token 1 or 2.

    Weights are drawn wide, so that greedy text does not fall into one token for ever.
    """
    import torch

    library = transformers()
    vocabulary = save_tokenizer(family, folder)
    config = library.AutoConfig.for_model(
        family,
        vocab_size=vocabulary,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.4,
        **FAMILIES[family],
    )
    torch.manual_seed(seed)
    library.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def save_tokenizer(family: str, folder: Path) -> int:
    """The tokenizer alone, and its size.

    Llama gets a SentencePiece one with a begin of text and a chat template, others bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if family != "llama":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(STORYTELLER / name, folder / name)
        return 8192
    backend = vocabularies.sentence_piece()
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = transformers().PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return len(tokenizer) + 5


def transformers() -> Any:
    """Untyped on purpose: half of its functions have no types."""
    return importlib.import_module("transformers")
