"""Sizes as people write them."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from minivault.size import Bytes


@pytest.mark.parametrize(
    "text, bytes",
    [
        ("0", 0),
        ("4096", 4096),
        ("64 MiB", 64 * 2**20),
        ("1GiB", 2**30),
        ("1.5 gib", 3 * 2**29),
        ("500kB", 500_000),
        (" 2 KiB ", 2048),
        ("7 B", 7),
    ],
)
def test_a_size_is_read(text: str, bytes: int) -> None:
    assert Bytes(text) == bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 TB", "1 Gib b", "1e3", "one"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 512 MiB or 1 GiB"):
        Bytes(text)


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + " GiB", str(2**63), "8589934592 GiB"])
def test_a_size_that_no_machine_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no machine has so many bytes"):
        Bytes(text)


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Bytes(-1)


@pytest.mark.parametrize("text", ["1 GiB", "256 MiB", "3 KiB", "1000 B", "0 B"])
def test_a_size_is_written_so_that_it_can_be_read_again(text: str) -> None:
    assert str(Bytes(text)) == text


def test_pydantic_reads_and_writes_it() -> None:
    adapter = TypeAdapter(Bytes)
    assert adapter.validate_python("1 KiB") == 1024
    assert adapter.dump_python(Bytes("1 KiB")) == 1024
    with pytest.raises(ValidationError, match="such as 512 MiB"):
        adapter.validate_python("1 XiB")
