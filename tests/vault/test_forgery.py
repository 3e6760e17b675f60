"""Who may write to the folder and has no key can neither change a record nor have it signed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minivault.errors import CannotStart, ChainBroken, LogUnavailable, MiniVaultError
from minivault.schemas import Receipt
from minivault.vault import Vault
from minivault.vault.chain import Head
from minivault.vault.record import dump, line_hash, link, now
from minivault.vault.redact import redact
from minivault.vault.redacted import redacted_form
from minivault.vault.repair import adopt, repair
from minivault.vault.segments import place as place_of
from minivault.vault.signing import BadCheckpoint, write_keys
from minivault.vault.verify import check_receipt, verify
from tests.live import wait_for
from tests.vault.samples import write

pytestmark = pytest.mark.usefixtures("nobody_writes_meanwhile", "many_ticks")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a pair of keys, a signed log of five records, a copy of its checkpoint."""
    write_keys(tmp_path / "key", tmp_path / "key.pub")
    _grow(tmp_path)
    shutil.copy(tmp_path / "logs" / "checkpoint", tmp_path / "kept")
    return tmp_path


def _grow(place: Path) -> list[Receipt]:
    vault = Vault(place / "logs", signing_key=place / "key")
    vault.open()
    receipts = [write(vault, f"g{number}", f"prompt {number}") for number in range(5)]
    vault.close()
    return receipts


def _lines(place: Path) -> list[bytes]:
    return (place / "logs" / "log.jsonl").read_bytes().splitlines()


def _put(place: Path, lines: list[bytes]) -> None:
    (place / "logs" / "log.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))


def _told(lines: list[bytes], seq: int, was: str, now_: str) -> bytes:
    """The line that tells of a redaction, behind the others."""
    head = Head.of(lines[-1])
    fields = {"timestamp": now(), "redacts": seq, "was": was, "now": now_}
    return dump(fields)[:-1] + link(head.seq + 1, head.hash, head.redacted)


def _dressed(line: bytes, **change: object) -> bytes:
    """The line as if it were redacted, with something else in it."""
    form = json.loads(redacted_form(line, line_hash(line)))
    links = {name: form.pop(name) for name in ("prev_redacted", "seq", "prev")}
    return dump({**form, **change, **links})


FORGERIES: dict[str, dict[str, object]] = {
    "other words": {"prompt": "bomb", "response": "yes"},
    "another time": {"timestamp": "2020-01-01T00:00:00.000Z"},
    "another model": {"model": {"name": "other", "sha256": "1" * 64}},
    "another seed": {"seed": 8},
    "something more": {"client_name": "x"},
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("seq", [1, 5])
def test_a_forged_redaction_is_told(forgery: str, seq: int, place: Path) -> None:
    lines = _lines(place)
    receipt = Receipt(seq=seq, hash=line_hash(lines[seq - 1]))
    forged = _dressed(lines[seq - 1], **FORGERIES[forgery])
    lines.append(_told(lines, seq, receipt.hash, line_hash(forged)))
    lines[seq - 1] = forged
    _put(place, lines)
    reason = f"record {seq} is (not what redaction makes of it|called redacted)"
    for kept, key in ((None, None), (place / "kept", None), (None, place / "key.pub")):
        with pytest.raises(ChainBroken, match=reason) as caught:
            verify(place / "logs", checkpoint=kept, public_key=key)
        assert caught.value.line == seq
    with pytest.raises(ChainBroken, match=reason):
        check_receipt(place / "logs", receipt)
    with pytest.raises(ChainBroken):
        Vault(place / "logs", signing_key=place / "key").open()


def test_the_last_record_cannot_be_forged_with_all_that_comes_after_it(place: Path) -> None:
    """The kept checkpoint names what redaction makes of it; a new line could name another form."""
    lines = _lines(place)
    was, forged = line_hash(lines[4]), _dressed(lines[4], seed=8)
    head = Head(5, was, line_hash(forged))
    told = dump({"timestamp": now(), "redacts": 5, "was": was, "now": line_hash(forged)})[:-1]
    _put(place, [*lines[:4], forged, told + link(6, head.hash, head.redacted)])
    with pytest.raises(ChainBroken, match="record 5 is not the one of the checkpoint"):
        verify(place / "logs", checkpoint=place / "kept")


def test_where_a_key_is_a_redaction_is_signed(place: Path) -> None:
    folder, lines = place / "logs", _lines(place)
    with pytest.raises(CannotStart, match="give --signing-key"):
        redact(folder, 2)
    done = redact(folder, 2, signing_key=place / "key")
    assert verify(folder, public_key=place / "key.pub").redacted == (2,)
    assert check_receipt(folder, Receipt(seq=2, hash=line_hash(lines[1]))) == 2
    assert done.receipts[2].seq == 6
    _grow(place)
    lines = _lines(place)
    form = redacted_form(lines[2], line_hash(lines[2]))  # rightly made, but by somebody else
    lines.append(_told(lines, 3, line_hash(lines[2]), line_hash(form)))
    lines[2] = form
    _put(place, lines)
    with pytest.raises(ChainBroken, match="record 12: the redaction .* is not signed"):
        verify(folder, public_key=place / "key.pub")
    with pytest.raises(ChainBroken, match="is not signed"):
        Vault(folder, signing_key=place / "key").open()


@pytest.mark.parametrize("key", [None, "key"])
def test_a_newest_line_dressed_beyond_the_checkpoint_is_never_gone_on_from(
    key: str | None, place: Path
) -> None:
    """No later line names what redaction makes of it, and no record tells of a redaction."""
    folder, signing_key = place / "logs", place / key if key else None
    if key is None:
        (folder / "checkpoint").unlink()
    kept = (folder / "checkpoint").read_bytes() if key else None
    _grow(place) if key else None
    lines = _lines(place)
    _put(place, [*lines[:-1], _dressed(lines[-1], seed=8)])
    if kept:
        (folder / "checkpoint").write_bytes(kept)
    newest, why = len(lines), f"record {len(lines)} was redacted, and no record says so"
    for command in (
        lambda: Vault(folder, signing_key=signing_key).open(),
        lambda: verify(folder),
        lambda: adopt(folder, signing_key),
    ):
        with pytest.raises(ChainBroken, match=why) as caught:
            command()
        assert caught.value.line == newest
    done = repair(folder, signing_key)
    assert (done.after, done.moved, done.left, done.reason) == (newest - 1, 0, 1, why)
    assert verify(folder, public_key=place / "key.pub" if key else None).last == newest
    assert _lines(place)[: newest - 1] == lines[:-1]


def test_repair_takes_no_redaction_that_nobody_signed(place: Path) -> None:
    folder, lines = place / "logs", _lines(place)
    redact(folder, 2, signing_key=place / "key")
    kept = (folder / "checkpoint").read_bytes()
    _grow(place)
    lines = _lines(place)
    form = redacted_form(lines[7], line_hash(lines[7]))
    lines.append(_told(lines, 8, line_hash(lines[7]), line_hash(form)))
    lines[7] = form
    _put(place, lines)
    (folder / "checkpoint").write_bytes(kept)
    shutil.copytree(folder, place / "adopted" / "logs")
    done = repair(folder, place / "key")
    assert (done.after, done.moved, done.left) == (7, 3, 2)
    assert verify(folder, public_key=place / "key.pub").redacted == (2,)
    assert adopt(place / "adopted" / "logs", place / "key").unsigned == [8]
    assert verify(place / "adopted" / "logs", public_key=place / "key.pub").redacted == (2, 8)


def test_a_running_server_goes_on_from_no_line_that_is_dressed(place: Path) -> None:
    folder = place / "logs"
    vault = Vault(folder, signing_key=place / "key")
    vault.open()
    head = Head.of(_lines(place)[-1])
    told = dump({"timestamp": now(), "redacted": {"was": "1" * 64}, "id": "x"})[:-1]
    with open(folder / "log.jsonl", "ab") as file:
        file.write(told + link(6, head.hash, head.redacted) + b"\n")
    with pytest.raises(LogUnavailable, match="record 6 was redacted, and no record says so"):
        write(vault, "refused")
    vault.close()


def _forged_log(place: Path) -> None:
    """Another log, with a checkpoint of its own."""
    shutil.rmtree(place / "logs")
    vault = Vault(place / "logs")
    vault.open()
    for number in range(5):
        write(vault, f"g{number}", "forged")
    vault.close()


def _no_checkpoint(place: Path) -> None:
    _forged_log(place)
    (place / "logs" / "checkpoint").unlink()


def _from_line(place: Path) -> None:
    """The beginning is cut, and the checkpoint says that it was so meant."""
    lines, path = _lines(place), place / "logs" / "checkpoint"
    _put(place, lines[2:])
    body, signature = path.read_text().split("\n\n")
    path.write_text(f"{body}\nfrom 3 {line_hash(lines[1])}\n\n{signature}")


def _gap(place: Path) -> None:
    """All that was signed is gone, and what stands there follows from nothing."""
    body = _lines(place)[0].split(b',"prev_redacted"')[0]
    _put(place, [body + link(9, "1" * 64, "2" * 64)])


@pytest.mark.parametrize("attack", [_forged_log, _no_checkpoint, _from_line, _gap])
def test_a_start_signs_only_what_follows_from_what_was_signed(
    attack: Callable[[Path], None], place: Path
) -> None:
    attack(place)
    for _ in range(2):
        with pytest.raises((CannotStart, ChainBroken)) as caught:
            Vault(place / "logs", signing_key=place / "key").open()
        assert attack is _gap or "minivault logs adopt" in str(caught.value)
        with pytest.raises(MiniVaultError):
            verify(place / "logs", public_key=place / "key.pub")


def test_what_is_adopted_is_signed(place: Path) -> None:
    _forged_log(place)
    done = adopt(place / "logs", place / "key")
    assert (done.now.seq, done.before and done.before.is_signed) == (5, False)
    _grow(place)
    assert verify(place / "logs", public_key=place / "key.pub").checkpoint == 10


def _first_files_removed(files: list[Path]) -> None:
    for path in files[:3]:
        path.unlink()


def _kept_file_cut(files: list[Path]) -> None:
    """Of the first file that retention is going to keep only the second half is left."""
    lines = files[-2].read_bytes().splitlines(keepends=True)
    files[-2].write_bytes(b"".join(lines[1:]))


def _last_line_dressed(files: list[Path]) -> None:
    """The same, and the file before it ends as if the rest went on from there."""
    _kept_file_cut(files)
    seq, base = place_of(files[-2].read_bytes().splitlines()[0])
    told = {"timestamp": now(), "redacted": {"was": base}}
    with open(files[-3], "ab") as file:
        file.write(dump(told)[:-1] + link(seq - 1, "1" * 64, "2" * 64) + b"\n")


@pytest.mark.parametrize("cut", [_first_files_removed, _kept_file_cut, _last_line_dressed])
def test_retention_vouches_for_no_beginning_that_somebody_cut(
    cut: Callable[[list[Path]], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, key, public = tmp_path / "logs", tmp_path / "key", tmp_path / "key.pub"
    write_keys(key, public)
    vault = Vault(folder, signing_key=key, max_bytes=2000)
    vault.open()
    for number in range(20):
        write(vault, f"g{number}")
    vault.close()
    files = sorted(folder.glob("log-*.jsonl"))
    cut(files)
    left = sorted(folder.glob("log-*.jsonl"))
    with pytest.raises(ChainBroken):
        verify(folder, public_key=public)
    vault = Vault(folder, signing_key=key, max_bytes=2000, keep_files=2)
    vault.open()
    write(vault, "later")
    vault.close()
    assert set(left) <= set(folder.glob("log-*.jsonl"))
    assert "no old files of the log are removed" in caplog.text
    with pytest.raises(ChainBroken):
        verify(folder, public_key=public)


def _another_file(place: Path, lines: list[bytes]) -> None:
    other = place / "logs" / "log.jsonl.new"
    other.write_bytes(b"".join(line + b"\n" for line in lines))
    other.chmod(0o600)
    other.rename(place / "logs" / "log.jsonl")


def _moved_over(place: Path) -> None:
    shutil.copytree(place / "logs", place / "real")
    other = place / "other"
    other.mkdir()
    vault = Vault(other / "logs")
    vault.open()
    for number in range(7):
        write(vault, f"g{number}", "forged")
    vault.close()
    _another_file(place, (other / "logs" / "log.jsonl").read_bytes().splitlines())


def _edited_and_moved_over(place: Path) -> None:
    lines = _lines(place)
    _another_file(place, [*lines[:-1], lines[-1].replace(b"prompt", b"forged")])


def _edited_in_place(place: Path) -> None:
    with open(place / "logs" / "log.jsonl", "r+b") as file:
        file.seek(-len(_lines(place)[-1]) - 1, 2)
        file.seek(50, 1)
        file.write(b"x")


def _from_line_added(place: Path) -> None:
    path = place / "logs" / "checkpoint"
    body, signature = path.read_text().split("\n\n")
    path.write_text(f"{body}\nfrom 3 {'0' * 64}\n\n{signature}")


@pytest.mark.parametrize(
    "attack", [_moved_over, _edited_and_moved_over, _edited_in_place, _from_line_added]
)
def test_a_running_server_signs_only_what_follows_from_what_it_signed(
    attack: Callable[[Path], None], place: Path
) -> None:
    folder = place / "logs"
    vault = Vault(folder, signing_key=place / "key")
    vault.open()
    signed = (folder / "checkpoint").read_bytes()
    attack(place)
    with pytest.raises((ChainBroken, BadCheckpoint)):
        verify(folder, public_key=place / "key.pub")
    written = 0
    while not vault.problem and written < 10_000:  # the checkpoint is read at each tick
        try:
            write(vault, f"later{written}")
            written += 1
        except LogUnavailable:
            break
        time.sleep(0.001)
    with pytest.raises(LogUnavailable, match="something else|replaced|changed"):
        write(vault, "refused")
    vault.close()
    with pytest.raises((ChainBroken, BadCheckpoint)):
        verify(folder, public_key=place / "key.pub")
    assert attack is _from_line_added or (folder / "checkpoint").read_bytes() == signed


def test_the_server_goes_on_when_the_file_is_put_back(place: Path) -> None:
    folder = place / "logs"
    vault = Vault(folder, signing_key=place / "key")
    vault.open()
    good = folder / "log.jsonl"
    good.rename(place / "good")
    _another_file(place, (place / "good").read_bytes().replace(b"prompt", b"forged").splitlines())
    with pytest.raises(LogUnavailable, match="replaced by another"):
        write(vault, "refused")
    (place / "good").rename(good)
    wait_for(lambda: not (vault.problem or vault.statistics()["unwritten"]))
    write(vault, "accepted")
    vault.close()
    assert verify(folder, public_key=place / "key.pub").last == 7
