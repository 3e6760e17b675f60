from __future__ import annotations

import lzma
from pathlib import Path

import pytest
import torch

from training.corpus import END_OF_TEXT, crops, encode, hold_out, read_chapters, windows
from training.tokenizer import train_tokenizer


def test_chapters_come_from_plain_and_packed_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text(f"three{END_OF_TEXT}\n\n{END_OF_TEXT}four\n", encoding="utf-8")
    with lzma.open(tmp_path / "a.txt.xz", "wt", encoding="utf-8") as file:
        file.write(f"one\n{END_OF_TEXT}\ntwo é\n{END_OF_TEXT}\n")
    (tmp_path / "notes.md").write_text("not text")
    assert read_chapters(tmp_path) == ["one", "two é", "three", "four"]


def test_a_folder_without_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(ValueError, match="no text in"):
        read_chapters(tmp_path)


def test_held_out_chapters_are_not_trained_on_and_the_seed_chooses_them() -> None:
    chapters = [f"chapter {number}" for number in range(100)]
    training, kept = hold_out(chapters, 0.1, seed=1)
    assert len(kept) == 10
    assert sorted(training + kept) == sorted(chapters)
    assert hold_out(chapters, 0.1, seed=1) == (training, kept)
    assert hold_out(chapters, 0.1, seed=2) != (training, kept)
    assert len(hold_out(chapters, 0.0, seed=1)[1]) == 1
    with pytest.raises(ValueError, match="one chapter is too little"):
        hold_out(chapters[:1], 0.5, seed=1)


def test_the_tokenizer_writes_every_text_and_the_end_is_id_0() -> None:
    tokenizer = train_tokenizer(["the cat and the dog and the cat"] * 3, size=270)
    assert tokenizer.token_to_id(END_OF_TEXT) == 0
    assert tokenizer.get_vocab_size() <= 270
    for text in ("the cat", "日本語 🐈 e\u0301", " \n\t", "\x00"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_a_row_has_the_end_before_the_first_and_after_each_chapter() -> None:
    tokenizer = train_tokenizer(["a b c"], size=260)
    chapters = [f"chapter {number}" for number in range(70)]
    row = encode(chapters, tokenizer)
    ids = row.tolist()
    assert ids[0] == ids[-1] == 0
    assert ids.count(0) == 71
    assert tokenizer.decode(ids) == "".join(chapters)


def test_crops_are_pieces_of_the_row_from_any_place() -> None:
    row = torch.arange(50, dtype=torch.int32)
    pieces = crops(row, 400, 8, generator=torch.Generator().manual_seed(0))
    assert pieces.shape == (400, 8)
    assert (pieces - pieces[:, :1] == torch.arange(8)).all()
    assert set(pieces[:, 0].tolist()) == set(range(43))


def test_windows_follow_each_other() -> None:
    row = torch.arange(50, dtype=torch.int32)
    assert windows(row, 8).flatten().tolist() == list(range(48))
