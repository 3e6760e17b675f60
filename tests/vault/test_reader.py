"""Reading: by place, newest first, searched, summed up; over all files and while one is written."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minivault.errors import ChainBroken, NotFound
from minivault.vault import Vault
from minivault.vault.reader import Reader
from minivault.vault.record import GENESIS, line_hash, link
from minivault.vault.search import Query, search, summarize
from minivault.vault.segments import place, segments
from tests.vault.samples import write


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Forty records in several files, the oldest of them compressed."""
    vault = Vault(tmp_path, max_bytes=4000)
    vault.open()
    for number in range(1, 41):
        write(vault, f"g{number}", f"prompt {number}", "x" * (number * 37 % 500))
    vault.close()
    oldest = sorted(tmp_path.glob("log-*.jsonl"))[0]
    oldest.with_name(f"{oldest.name}.gz").write_bytes(gzip.compress(oldest.read_bytes()))
    oldest.unlink()
    return tmp_path


def test_every_record_is_found_by_its_number(log: Path) -> None:
    reader = Reader(log)
    for seq in range(1, 41):
        assert reader.get(seq).prompt == f"prompt {seq}"
    for seq in (0, 41, 10**9):
        with pytest.raises(NotFound):
            reader.get(seq)


def test_all_ways_to_read_give_the_same_records(log: Path) -> None:
    reader = Reader(log)
    for seq in range(1, 43):
        assert [place(line)[0] for line in reader.forwards(seq)] == list(range(seq + 1, 41))
        older = [place(line)[0] for line in reader.lines_backwards(seq)]
        assert older == list(range(min(seq, 41) - 1, 0, -1))
    assert reader.last_seq() == 40


def test_pages_go_back_to_the_first_record(log: Path) -> None:
    reader, before, seen = Reader(log), None, []
    while True:
        page = search(reader, Query(), before=before, limit=7)
        seen += [record.seq for record in page.records]
        before = page.before
        if before is None:
            break
    assert seen == list(range(40, 0, -1))


def test_a_search_that_may_look_at_little_goes_on_where_it_stopped(log: Path) -> None:
    reader, before, seen = Reader(log), None, []
    for _ in range(10):
        page = search(reader, Query(text="PROMPT 4"), before=before, at_most=5)
        seen += [record.seq for record in page.records]
        before = page.before
        if before is None:
            break
    assert seen == [40, 4]


def test_a_search_knows_text_time_reason_and_model(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.open()
    write(vault, "a", 'Grüße aus "Köln"', "ja", timestamp="2026-11-20T10:00:00.000Z")
    write(vault, "b", "Hello", "GRÜSSE\n", timestamp="2026-11-21T10:30:00.000Z")
    write(vault, "c", "Hello", "100%", timestamp="2026-11-22T10:30:00.000Z")
    vault.close()

    def found(**query: str) -> list[int]:
        return [each.seq for each in search(Reader(tmp_path), Query(**query)).records]

    assert found(text="grüsse") == [2, 1]
    assert found(text='"KÖLN"') == [1]
    assert found(text="hello") == [3, 2]
    assert found(text="100%") == [3]
    assert found(text="length") == []
    assert found(since="2026-11-21") == [3, 2]
    assert found(until="2026-11-21") == [2, 1]
    assert found(since="2026-11-21T10:30", until="2026-11-21T10") == [2]
    assert found(finish_reason="length", model="echo", client="sse") == [3, 2, 1]
    assert found(finish_reason="stop") == []
    assert found(model="ech") == []


def test_a_summary_counts_everything(log: Path) -> None:
    data = summarize(Reader(log)).as_dict()
    assert data["records"] == 40
    assert data["completion_tokens"] == 160
    assert data["finish_reasons"] == {"length": 40}


def test_no_log_reads_as_an_empty_one(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "nowhere")
    assert list(reader.forwards()) == []
    assert reader.last_seq() == 0
    assert reader.find("x") == []


def test_a_half_written_line_is_not_read(log: Path) -> None:
    with open(log / "log.jsonl", "ab") as file:
        file.write(b'{"timestamp":"2026')
    reader = Reader(log)
    assert reader.last_seq() == 40
    assert len(list(reader.forwards())) == 40
    assert reader.get(40).seq == 40


def test_a_damaged_file_keeps_nobody_from_what_the_others_hold(log: Path) -> None:
    files = sorted(log.glob("log-*.jsonl"))
    packed = files[0].with_name(f"{files[0].name}.gz")
    data = gzip.compress(files[0].read_bytes())
    packed.write_bytes(data[:-12] + b"damaged" + data[-5:])
    files[0].unlink()
    told: list[ChainBroken] = []
    reader = Reader(log, skipped=told.append)
    with pytest.raises(ChainBroken, match=packed.name):
        list(Reader(log).lines_backwards())
    seen = [place(line)[0] for line in reader.lines_backwards()]
    missing = set(range(1, 41)) - set(seen)
    assert 2 < len(missing) < 20
    assert {1, 40} <= set(seen)
    assert set(seen) <= {place(line)[0] for line in reader.forwards()}
    assert [each.file for each in told] == [packed.name]
    assert reader.unreadable == {packed.name}
    page = search(Reader(log), Query())
    assert [each.seq for each in page.records] == list(range(40, max(missing), -1))
    assert page.broken
    with pytest.raises(ChainBroken, match=packed.name):
        search(Reader(log), Query(), before=page.before)


@pytest.mark.parametrize("read", [Reader.forwards, Reader.lines_backwards])
def test_a_file_rotated_between_listing_and_opening_is_found_again(
    read: Callable[[Reader], Iterator[bytes]], log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = [segments(log)]
    (log / "log.jsonl").rename(log / "log-000000000999.jsonl")
    (log / "log.jsonl").touch(mode=0o600)
    monkeypatch.setattr(
        "minivault.vault.reader.segments",
        lambda folder: listings.pop() if listings else segments(folder),
    )
    assert sorted(place(line)[0] for line in read(Reader(log))) == list(range(1, 41))
    assert not listings


@pytest.mark.slow
def test_the_newest_of_very_many_records_are_there_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    _write_many(log, 200_000)
    reader, before = Reader(tmp_path), _bytes_read()
    page = search(reader, Query(), limit=50)
    middle = reader.get(123_456)
    older = search(reader, Query(), before=100_000, limit=50)
    nobody = reader.find("nobody")
    read = _bytes_read() - before
    assert (page.records[0].seq, middle.seq, older.records[0].seq) == (200_000, 123_456, 99_999)
    assert nobody == []
    assert 0 < read < log.stat().st_size / 4


def _bytes_read() -> int:
    """How many bytes this process has read so far; those of mapped files do not count."""
    return int(Path("/proc/self/io").read_text().split()[1])


def _write_many(path: Path, count: int) -> None:
    head = GENESIS
    body = b'{"timestamp":"2026-11-23T10:00:00.000Z","prompt":"Hello","response":"' + b"x" * 300
    with open(path, "wb") as file:
        for seq in range(1, count + 1):
            line = body + b'","id":"g%d"' % seq + link(seq, head, None)
            head = line_hash(line)
            file.write(line + b"\n")
