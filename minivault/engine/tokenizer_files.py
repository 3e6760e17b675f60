"""The tokenizer files of a model's folder, read by the library that understands them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from minivault.engine.transformers.library import library
from minivault.gguf import is_gguf
from minivault.gguf.reader import GgufFile
from minivault.gguf.tokenizer import GgufTokenizer, tokenizer_of

# tokenizer.json says all that transformers would make of a GPT-2 folder that names one of these.
_PLAIN_CLASSES = (
    None,
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "PreTrainedTokenizerFast",
    "TokenizersBackend",
)
# What may stand in tokenizer_config.json beside the names of tokens and change no token.
_HARMLESS = {
    "backend",
    "clean_up_tokenization_spaces",
    "errors",
    "is_local",
    "local_files_only",
    "model_max_length",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_class",
    "tokenizer_file",
}
# Far beyond every vocabulary; the library takes memory for each number up to the largest.
_MOST_TOKENS = 2**22
_NAMED = {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"}
_NAMED |= {"mask_token", "additional_special_tokens", "extra_special_tokens"}
_OFF = {"add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens"}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a folder says. `template` is the chat template that holds where several are named.

    `names`: of special tokens, as templates call them. `no_template`: why there is none to be
    used, where there are some. `answers`: transformers' response template, if one came along.
    """

    backend: Backend
    template: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    no_template: str | None = None
    answers: Mapping[str, Any] | None = None


def read_files(folder: Path) -> TokenizerFiles:
    """Of a folder, or of a GGUF file. Raises whatever the libraries raise."""
    if is_gguf(folder):
        made = _gguf_tokenizer(folder)
        return TokenizerFiles(made.backend, made.template, made.names)
    data = _read(folder / "tokenizer.json")
    vocabulary = data.get("model", {}).get("vocab", {})
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else []
    for token_id in [*ids, *(each.get("id", 0) for each in data.get("added_tokens") or [])]:
        if not 0 <= token_id < _MOST_TOKENS:
            raise ValueError(f"tokenizer.json numbers a token {str(token_id)[:20]}")
    if _is_plain(folder):
        return TokenizerFiles(Backend.from_file(str(folder / "tokenizer.json")))
    has_other = (folder / "tokenizer.json").exists() or not any(folder.glob("*.model"))
    if not has_other and not all(map(find_spec, ("sentencepiece", "google.protobuf"))):
        raise ValueError(
            "it has only a SentencePiece file, which the package sentencepiece reads "
            "(pip install 'minivault[sentencepiece]'); a tokenizer.json needs none"
        )
    tokenizer = transformers_tokenizer(folder)
    backend: Backend | None = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError("it has only a slow form, which is not supported")
    if not tokenizer.chat_template:
        return TokenizerFiles(backend)
    try:
        template = str(tokenizer.get_chat_template())
    except ValueError:
        named = ", ".join(sorted(tokenizer.chat_template))
        return TokenizerFiles(
            backend, no_template=f"of its chat templates ({named}) none is named default"
        )
    names = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    answers = getattr(tokenizer, "response_template", None)
    return TokenizerFiles(backend, template, names, answers=answers)


@cache
def transformers_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder as transformers reads it, once; imports transformers.

    That of a GGUF file as MiniVault reads it.
    """
    transformers = library()
    if is_gguf(folder):
        made = _gguf_tokenizer(folder)
        return transformers.PreTrainedTokenizerFast(tokenizer_object=made.backend, **made.names)
    return transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False
    )


def model_type(folder: Path) -> str | None:
    """What the folder's configuration calls its kind of model, if it says so."""
    kind = _read(folder / "config.json").get("model_type")
    return kind if isinstance(kind, str) else None


def end_tokens(folder: Path) -> frozenset[int]:
    """As transformers: the generation config's end tokens, else the model's."""
    if is_gguf(folder):
        return _gguf_tokenizer(folder).end_ids
    for name in ("generation_config.json", "config.json"):
        config = _read(folder / name)
        end = config.get("eos_token_id", config.get("text_config", {}).get("eos_token_id"))
        if end is not None:
            return frozenset(end if isinstance(end, list) else [end])
    return frozenset()


@cache
def _gguf_tokenizer(path: Path) -> GgufTokenizer:
    return tokenizer_of(GgufFile.open(path))


def _is_plain(folder: Path) -> bool:
    """Whether tokenizer.json alone is enough, so that transformers need not be imported.

    It is for GPT-2, where the files beside it name nothing that is not in it as well.
    """
    if not (folder / "tokenizer.json").is_file():
        return False
    if _read(folder / "config.json").get("model_type") != "gpt2":
        return False
    config = _read(folder / "tokenizer_config.json")
    # A chat template in any of the places where transformers looks.
    beside = any(folder.glob("chat_template.*")) or (folder / "additional_chat_templates").exists()
    if beside or config.get("chat_template"):
        return False
    rest = config.keys() - _HARMLESS - _NAMED - _OFF - {"added_tokens_decoder"}
    if rest or config.get("tokenizer_class") not in _PLAIN_CLASSES or any(map(config.get, _OFF)):
        return False
    listed = _read(folder / "tokenizer.json").get("added_tokens", [])
    added = {each["id"]: AddedToken(**_attributes(each)) for each in listed}
    special = {each.content for each in added.values() if each.special}
    ids = {each.content: token_id for token_id, each in added.items()}
    named = {name: value for name, value in config.items() if name in _NAMED}
    decoder = config.get("added_tokens_decoder", {})
    return (
        special.issuperset(_contents([named, _read(folder / "special_tokens_map.json")]))
        and all(ids.get(name) == each for name, each in _read(folder / "added_tokens.json").items())
        and all(
            int(token_id) in added and added[int(token_id)] == AddedToken(**_attributes(value))
            for token_id, value in decoder.items()
        )
    )


def _attributes(token: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in token.items() if name not in ("id", "__type")}


def _contents(named: Any) -> Iterable[str]:
    """The names of tokens, however they are written down: bare, in a list, with attributes."""
    if isinstance(named, str):
        yield named
    elif isinstance(named, Mapping):
        yield from [str(named["content"])] if "content" in named else _contents([*named.values()])
    elif isinstance(named, list):
        for each in named:
            yield from _contents(each)


def _read(file: Path) -> dict[str, Any]:
    """A JSON object of the model's folder; empty where the file does not exist."""
    if not file.is_file():
        return {}
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data
