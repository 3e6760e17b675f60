"""The chain tells every change: flipped bits, lost, swapped, doubled and invented lines."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from minivault.errors import CannotStart, ChainBroken, NotFound
from minivault.schemas import Receipt
from minivault.vault import Vault
from minivault.vault.chain import Chain, Head
from minivault.vault.record import link
from minivault.vault.signing import BadCheckpoint, write_keys
from minivault.vault.verify import check_receipt, verify
from tests.vault.samples import write

pytestmark = pytest.mark.usefixtures("nobody_writes_meanwhile")


def _log(folder: Path, count: int = 5, **options: object) -> list[Receipt]:
    vault = Vault(folder, **options)  # type: ignore[arg-type]  # the options are the test's
    vault.open()
    receipts = [write(vault, f"g{number}") for number in range(count)]
    vault.close()
    return receipts


def _lines(folder: Path) -> list[bytes]:
    return (folder / "log.jsonl").read_bytes().splitlines(keepends=True)


def test_every_flipped_bit_is_told(tmp_path: Path) -> None:
    head = _log(tmp_path, 3)[-1].hash
    data = (tmp_path / "log.jsonl").read_bytes()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        chain = Chain()
        try:
            chain.walk(BytesIO(bytes(changed)), "log.jsonl")
        except ChainBroken:
            continue
        assert (chain.head and chain.head.hash) != head, (
            f"bit {bit} was flipped, and nothing told it"
        )


@pytest.mark.parametrize("byte", [20, 45, -3, -80])
def test_a_changed_last_line_is_told_by_the_checkpoint(byte: int, tmp_path: Path) -> None:
    _log(tmp_path, 3)
    data = bytearray((tmp_path / "log.jsonl").read_bytes())
    start = data.rindex(b"\n", 0, -1) + 1 if byte > 0 else len(data)
    data[start + byte] ^= 1
    (tmp_path / "log.jsonl").write_bytes(data)
    with pytest.raises(ChainBroken):
        verify(tmp_path)


CHANGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int, str]] = {
    "deleted": (lambda lines: lines[:1] + lines[2:], 2, "record 3 stands where record 2 should"),
    "first deleted": (lambda lines: lines[1:], 0, "the beginning is cut"),
    "swapped": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 2, "record 3 stands"),
    "doubled": (lambda lines: lines[:2] + lines[1:], 3, "record 2 stands where record 3 should"),
    "inserted": (lambda lines: lines[:2] + [b'{"seq":3}\n'] + lines[2:], 3, "this is no record"),
    "changed": (
        lambda lines: [lines[0], lines[1].replace(b"there", b"three"), *lines[2:]],
        2,
        "record 2 was changed",
    ),
    "cut": (lambda lines: lines[:3], 0, "the end is cut: records 4 to 5 are missing"),
    "emptied": (lambda lines: [], 0, "the end is cut"),
    "torn": (lambda lines: [*lines[:4], lines[4][:-9]], 5, "the last line is cut short"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_named_with_its_line(change: str, tmp_path: Path) -> None:
    _log(tmp_path)
    apply, line, reason = CHANGES[change]
    (tmp_path / "log.jsonl").write_bytes(b"".join(apply(_lines(tmp_path))))
    with pytest.raises(ChainBroken, match=reason) as caught:
        verify(tmp_path)
    assert caught.value.line == line


def test_a_whole_chain_that_is_written_anew_is_told_by_the_checkpoint(tmp_path: Path) -> None:
    _log(tmp_path)
    head, forged = Head(), []
    for line in _lines(tmp_path):
        body = line[: line.rindex(b',"prev_redacted":')].replace(b"there", b"three")
        new = body + link(head.seq + 1, head.hash, head.redacted)
        head = Head.of(new)
        forged.append(new + b"\n")
    (tmp_path / "log.jsonl").write_bytes(b"".join(forged))
    with pytest.raises(ChainBroken, match="record 5 is not the one of the checkpoint"):
        verify(tmp_path)
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(ChainBroken, match="another log's"):
        verify(tmp_path)
    shutil.rmtree(tmp_path / "tree")  # without both a forged chain is as good as any
    assert verify(tmp_path).checkpoint == 0


def test_a_checkpoint_that_was_kept_elsewhere_tells_what_ours_no_longer_does(
    tmp_path: Path,
) -> None:
    folder, kept = tmp_path / "logs", tmp_path / "kept"
    _log(folder)
    shutil.copy(folder / "checkpoint", kept)
    verify(folder, checkpoint=kept)
    shutil.rmtree(folder)
    _log(folder)
    verify(folder)
    with pytest.raises(ChainBroken, match="record 5 is not the one of the checkpoint"):
        verify(folder, checkpoint=kept)


def test_an_older_checkpoint_still_holds_when_the_log_has_grown(tmp_path: Path) -> None:
    folder, kept = tmp_path / "logs", tmp_path / "kept"
    _log(folder)
    shutil.copy(folder / "checkpoint", kept)
    _log(folder)
    found = verify(folder, checkpoint=kept)
    assert (found.last, found.checkpoint) == (10, 10)


def test_a_signed_checkpoint_verifies_with_the_public_key_alone(tmp_path: Path) -> None:
    folder, key, public = tmp_path / "logs", tmp_path / "key", tmp_path / "key.pub"
    write_keys(key, public)
    assert key.stat().st_mode & 0o777 == 0o600
    _log(folder, signing_key=key)
    key.unlink()
    assert verify(folder, public_key=public).is_signed
    text = (folder / "checkpoint").read_text()
    (folder / "checkpoint").write_text(text.replace("\n5\n", "\n4\n", 1))
    with pytest.raises(BadCheckpoint, match="signature is wrong"):
        verify(folder, public_key=public)


def test_another_key_and_no_signature_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    for name in ("one", "two"):
        write_keys(tmp_path / name, tmp_path / f"{name}.pub")
    _log(folder, signing_key=tmp_path / "one")
    with pytest.raises(BadCheckpoint, match="not signed with this key"):
        verify(folder, public_key=tmp_path / "two.pub")
    _log(folder)  # who has no key goes on, and leaves the signed checkpoint as it is
    found = verify(folder, public_key=tmp_path / "one.pub")
    assert (found.last, found.checkpoint, found.is_signed) == (10, 5, True)
    with pytest.raises(CannotStart, match="not signed with this key.*logs adopt"):
        _log(folder, signing_key=tmp_path / "two")
    with pytest.raises(FileExistsError):
        write_keys(tmp_path / "one", tmp_path / "one.pub")


@pytest.mark.parametrize("text", ["", "x", "a\nb\nc\n\n", "minivault/1\n1\nAAAA\n\n"])
def test_a_damaged_checkpoint_is_told(text: str, tmp_path: Path) -> None:
    _log(tmp_path)
    (tmp_path / "checkpoint").write_text(text)
    with pytest.raises(BadCheckpoint, match="damaged"):
        verify(tmp_path)


def test_a_receipt_is_good_for_its_own_record_alone(tmp_path: Path) -> None:
    receipts = _log(tmp_path)
    for receipt in receipts:
        check_receipt(tmp_path, receipt)
    with pytest.raises(ChainBroken, match="record 1 is not the receipt's"):
        check_receipt(tmp_path, Receipt(seq=1, hash=receipts[1].hash))
    with pytest.raises(NotFound, match="the log has the records 1 to 5, not 6"):
        check_receipt(tmp_path, Receipt(seq=6, hash=receipts[1].hash))


def test_compressed_files_are_part_of_the_chain(tmp_path: Path) -> None:
    _log(tmp_path, 30, max_bytes=2000)
    old = sorted(tmp_path.glob("log-*.jsonl"))
    assert len(old) > 3
    for path in old[:2]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert verify(tmp_path).records == 30
    packed = min(tmp_path.glob("*.gz"))
    data = gzip.decompress(packed.read_bytes()).replace(b"there", b"three", 1)
    packed.write_bytes(gzip.compress(data))
    with pytest.raises(ChainBroken) as caught:
        verify(tmp_path)
    assert caught.value.file == packed.name
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(ChainBroken, match="cannot be read"):
        verify(tmp_path)
    packed.unlink()
    with pytest.raises(ChainBroken, match="the beginning is cut"):
        verify(tmp_path)
