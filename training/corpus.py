"""The corpus: text files become chapters, chapters become one long row of token ids."""

from __future__ import annotations

import lzma
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"


def read_chapters(folder: Path) -> list[str]:
    """The chapters of all .txt and .txt.xz files of a folder, in the order of their names.

    A chapter ends where END_OF_TEXT stands in the text, or with its file. Raises ValueError if
    there is none.
    """
    texts = (_read(path) for path in sorted(folder.rglob("*")) if _is_text(path))
    chapters = [part.strip() for text in texts for part in text.split(END_OF_TEXT)]
    chapters = [chapter for chapter in chapters if chapter]
    if not chapters:
        raise ValueError(f"no text in {folder}: put .txt or .txt.xz files there")
    return chapters


def hold_out(chapters: list[str], share: float, *, seed: int) -> tuple[list[str], list[str]]:
    """Chapters to train on, and at least one that is kept from training to measure with."""
    if len(chapters) < 2:
        raise ValueError(f"one chapter is too little; put {END_OF_TEXT} between chapters")
    kept = max(1, round(len(chapters) * share))
    chosen = set(random.Random(seed).sample(range(len(chapters)), kept))
    training = [chapter for index, chapter in enumerate(chapters) if index not in chosen]
    return training, [chapters[index] for index in sorted(chosen)]


def encode(chapters: Sequence[str], tokenizer: Tokenizer) -> torch.Tensor:
    """All chapters as one row of ids (int32), END_OF_TEXT before the first and after each."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = [torch.tensor([end], dtype=torch.int32)]
    for group in _groups(chapters, 64):
        for encoding in tokenizer.encode_batch(group):
            ids.append(torch.tensor([*encoding.ids, end], dtype=torch.int32))
    return torch.cat(ids)


def crops(
    ids: torch.Tensor, count: int, length: int, *, generator: torch.Generator
) -> torch.Tensor:
    """Random pieces of the row: (count, length), int64."""
    starts = torch.randint(len(ids) - length + 1, (count, 1), generator=generator)
    return ids[starts + torch.arange(length)].long()


def windows(ids: torch.Tensor, length: int) -> torch.Tensor:
    """The row cut into consecutive windows: (windows, length), int64; the rest is left out."""
    count = len(ids) // length
    return ids[: count * length].view(count, length).long()


def _is_text(path: Path) -> bool:
    return path.is_file() and path.name.endswith((".txt", ".txt.xz"))


def _read(path: Path) -> str:
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8") as file:
            return file.read()
    return path.read_text(encoding="utf-8")


def _groups(chapters: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(chapters), size):
        yield list(chapters[start : start + size])
