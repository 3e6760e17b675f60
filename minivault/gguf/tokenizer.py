"""The tokenizer of a GGUF file, built from its vocabulary alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Backend

from minivault.errors import ModelUnusable
from minivault.gguf.reader import GgufFile
from minivault.gguf.splits import SPLITS

_UNKNOWN, _CONTROL, _ADDED = 2, 3, 4  # kinds of tokens; the others are 1 plain, 5 unused, 6 a byte
_ENDS = ("eos", "eot", "eom")
_NAMED = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}

# Where one of these is a control token it ends a text, also in files that forget to say so.
_END_NAMES = {
    "</s>",
    "<end_of_turn>",
    "<turn|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|im_end|>",
}


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """`end_ids` end a text; `template` is the chat template; `names` are what it calls tokens."""

    backend: Backend
    end_ids: frozenset[int]
    template: str | None
    names: Mapping[str, str]


def tokenizer_of(file: GgufFile) -> GgufTokenizer:
    """Raises ModelUnusable for a tokenizer that is not understood."""
    vocabulary = _Vocabulary(file)
    backend = vocabulary.byte_level() if vocabulary.model == "gpt2" else vocabulary.sentence_piece()
    vocabulary.add_to(backend)
    template = file.metadata.get("tokenizer.chat_template")
    return GgufTokenizer(
        backend,
        vocabulary.end_ids,
        template if isinstance(template, str) and template else None,
        {
            f"{name}_token": vocabulary.tokens[place]
            for name, key in _NAMED.items()
            if (place := vocabulary.token_id(key)) is not None
        },
    )


class _Vocabulary:
    """What the file says of its tokens, checked."""

    def __init__(self, file: GgufFile) -> None:
        self._file = file
        self.model = self._get("model", str)
        if self.model not in ("gpt2", "llama"):
            raise self._wrong(f"model {self.model!r}; gpt2 and llama are read")
        self.tokens: list[str] = self._get("tokens", list)
        self.ids = {token: place for place, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            twice = next(each for n, each in enumerate(self.tokens) if self.ids[each] != n)
            raise self._wrong(f"the token {twice[:40]!r} twice")
        self._kinds: list[int] = self._numbers("token_type")
        ended = {self.token_id(key) for key in _ENDS} - {None}
        named = {
            place
            for place, token in enumerate(self.tokens)
            if token in _END_NAMES and self._kinds[place] in (_CONTROL, _ADDED)
        }
        self.end_ids = frozenset(each for each in ended | named if each is not None)

    def token_id(self, key: str) -> int | None:
        """The token that a key such as `bos` names; None where the file names none."""
        place = self._file.metadata.get(f"tokenizer.ggml.{key}_token_id")
        if place is None:
            return None
        if isinstance(place, bool) or not isinstance(place, int) or place >= len(self.tokens):
            raise self._wrong(f"{key}_token_id {str(place)[:40]}, which is no token")
        return place

    def byte_level(self) -> Backend:
        """Bytes, spelled in letters, and merges in the order of their importance."""
        name = self._get("pre", str)
        if name not in SPLITS:
            known = ", ".join(SPLITS)
            raise self._wrong(f"the pre-tokenizer {name[:40]!r}; these are read: {known}")
        split = SPLITS[name]
        merges = [tuple(each.split(" ")) for each in self._get("merges", list)]
        for merge in merges:
            if len(merge) != 2 or not {*merge, "".join(merge)} <= self.ids.keys():
                raise self._wrong(f"the merge {' '.join(merge)[:40]!r}, which makes no token")
        backend = Backend(
            models.BPE(vocab=self.ids, merges=merges, ignore_merges=split.whole_words)
        )
        cuts: list[Any] = [
            pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in split.patterns
        ]
        cuts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        backend.pre_tokenizer = pre_tokenizers.Sequence(cuts)
        backend.decoder = decoders.ByteLevel()
        self._wrap(backend, begins=split.begins)
        return backend

    def sentence_piece(self) -> Backend:
        """Pieces; the one with the best score is put together first. Bytes for the rest."""
        for key in ("remove_extra_whitespaces", "precompiled_charsmap"):
            if np.any(self._file.metadata.get(f"tokenizer.ggml.{key}", False)):
                raise self._wrong(f"{key}, which is not read")
        unknown = self.token_id("unknown")
        backend = Backend(
            models.BPE(
                vocab=self.ids,
                merges=self._merges_by_score(),
                unk_token=None if unknown is None else self.tokens[unknown],
                fuse_unk=True,
                byte_fallback=True,
            )
        )
        spaced = self._flag("add_space_prefix", default=True)
        backend.normalizer = normalizers.Sequence(
            [*([normalizers.Prepend("▁")] if spaced else []), normalizers.Replace(" ", "▁")]
        )
        backend.decoder = decoders.Sequence(
            [
                decoders.Replace("▁", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                *([decoders.Strip(" ", 1)] if spaced else []),
            ]
        )
        self._wrap(backend, begins=True)
        return backend

    def add_to(self, backend: Backend) -> None:
        """Control tokens as special ones, and those that were added to be read as they stand."""
        named = {self.token_id(key) for key in ("bos", *_ENDS)} | self.end_ids
        special, added = [], []
        for place, (token, kind) in enumerate(zip(self.tokens, self._kinds, strict=True)):
            if kind in (_CONTROL, _UNKNOWN) or place in named:
                special.append(AddedToken(token, normalized=False, special=True))
            elif kind == _ADDED:
                added.append(AddedToken(token, normalized=False, special=False))
        backend.add_special_tokens(special)
        backend.add_tokens(added)

    def _merges_by_score(self) -> list[tuple[str, str]]:
        """Every two pieces that make a third, the best third first, as SentencePiece joins them."""
        scores = self._numbers("scores")
        found: list[tuple[float, int, int, tuple[str, str]]] = []
        apart = (_UNKNOWN, _CONTROL, _ADDED)
        for whole, place in self.ids.items():
            if self._kinds[place] in apart:
                continue
            for cut in range(1, len(whole)):
                left, right = whole[:cut], whole[cut:]
                if left in self.ids and right in self.ids:
                    found.append((-scores[place], place, cut, (left, right)))
        return [pair for *_, pair in sorted(found)]

    def _wrap(self, backend: Backend, *, begins: bool) -> None:
        """Begin- and end-of-text tokens around every text, where the file or its kind says so."""
        begin = self.token_id("bos") if self._flag("add_bos_token", default=begins) else None
        end = self.token_id("eos") if self._flag("add_eos_token", default=False) else None
        around = {"begin": begin, "end": end}
        special = [
            {"id": name, "ids": [place], "tokens": [self.tokens[place]]}
            for name, place in around.items()
            if place is not None
        ]
        if special:
            pieces = [*["begin"][begin is None :], "$A", *["end"][end is None :]]
            backend.post_processor = processors.TemplateProcessing(
                single=pieces, special_tokens=special
            )

    def _flag(self, key: str, *, default: bool) -> bool:
        value = self._file.metadata.get(f"tokenizer.ggml.{key}", default)
        if not isinstance(value, bool):
            raise self._wrong(f"{key} {str(value)[:40]}, which is neither true nor false")
        return value

    def _numbers(self, key: str) -> list[Any]:
        """One for each token."""
        values: list[Any] = self._get(key, np.ndarray).tolist()
        if len(values) != len(self.tokens):
            raise self._wrong(f"{len(values)} values of {key} for {len(self.tokens)} tokens")
        return values

    def _get(self, key: str, kind: type) -> Any:
        value = self._file.metadata.get(f"tokenizer.ggml.{key}")
        if not isinstance(value, kind):
            state = "lacks" if value is None else "is damaged: of another type is"
            raise ModelUnusable(f"{self._file.path.name} {state} tokenizer.ggml.{key}")
        return value

    def _wrong(self, what: str) -> ModelUnusable:
        return ModelUnusable(f"{self._file.path.name} has a tokenizer that is not read: {what}")
