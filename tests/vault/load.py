"""Load on a vault that tells what was acknowledged, and what must then be true of the log.

Also a program: `python -m tests.vault.load FOLDER COUNT [MAX_BYTES]` prints each acknowledgement
as it comes, so that it can be killed at any moment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minivault.errors import LogUnavailable
from minivault.vault import Vault, load_secret
from minivault.vault.reader import Reader
from minivault.vault.record import Record
from minivault.vault.verify import verify
from tests.vault.samples import begin, outcome

PIECES = ["one ", "two ", "three"]


@dataclass
class Acknowledged:
    """What the vault said is durable, by generation id."""

    begun: set[str] = field(default_factory=set)
    said: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)  # id -> the hash of its record
    refused: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)  # the end was refused: it is to be written later

    def tell(self, what: str, id: str, detail: str = "") -> None:
        match what:
            case "begun":
                self.begun.add(id)
            case "said":
                self.said[id] = self.said.get(id, "") + detail
            case "ended":
                self.ended[id] = detail
            case "refused":
                self.refused.add(id)
            case "kept":
                self.kept.add(id)


def generate(vault: Vault, count: int, tell: Callable[..., None], prefix: str = "g") -> None:
    """`count` generations, three at a time: begins, pieces, ends; goes on whatever is refused."""
    for number in range(0, count, 3):
        ids = [f"{prefix}{each}" for each in range(number, min(number + 3, count))]
        _generate_some(vault, ids, tell)


def _generate_some(vault: Vault, ids: list[str], tell: Callable[..., None]) -> None:
    entries = []
    for id, future in [(id, vault.begin(begin(id, prompt=f"prompt of {id}"))) for id in ids]:
        try:
            entries.append((id, future.result(20)))
            tell("begun", id)
        except LogUnavailable:
            tell("refused", id)
    for piece in PIECES:
        try:
            vault.pieces([(entry, piece) for _, entry in entries])
        except LogUnavailable:
            break
        for id, _ in entries:
            tell("said", id, piece)
    ends = [(id, vault.commit(entry, outcome("".join(PIECES)))) for id, entry in entries]
    for id, end in ends:
        try:
            tell("ended", id, end.result(20).hash)
        except LogUnavailable:
            tell("kept", id)


def records(folder: Path) -> Iterator[Record]:
    return map(Record.parse, Reader(folder).forwards())


def require_kept_promises(folder: Path, told: Acknowledged, *, complete: bool = True) -> None:
    """Opens the log anew and checks that it holds what was promised, each exactly once."""
    load_secret(folder / "secret")
    vault = Vault(folder)
    vault.open()
    vault.close()
    verify(folder)
    found = list(records(folder))
    by_id = {str(record.id): record for record in found}
    assert len(by_id) == len(found), "a record is there twice"
    assert len({record.fields["salt"] for record in found}) == len(found)
    assert told.begun <= set(by_id), "an accepted request has no record"
    assert not told.refused & set(by_id), "a refused request has a record"
    for id, text in told.said.items():
        assert (by_id[id].response or "").startswith(text), "what was said is lost"
    for id, digest in told.ended.items():
        assert by_id[id].hash == digest, "a receipt is wrong"
        assert (by_id[id].finish_reason, by_id[id].response) == ("length", "".join(PIECES))
    if complete:
        for id in told.kept:
            assert by_id[id].finish_reason in ("length", "interrupted")
    assert not [path for path in folder.iterdir() if path.name.startswith("inflight-")]


def read_acknowledged(output: str) -> Acknowledged:
    """What a killed program had printed; its last line may be half."""
    told = Acknowledged()
    for line in output.split("\n")[:-1]:
        told.tell(*json.loads(line))
    return told


def main() -> None:
    folder, count, max_bytes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    load_secret(folder / "secret")
    vault = Vault(folder, max_bytes=max_bytes)
    vault.open()

    def tell(*words: str) -> None:
        print(json.dumps(words), flush=True)

    tell("open", "")
    generate(vault, count, tell, prefix=f"{sys.argv[4]}-" if len(sys.argv) > 4 else "g")
    vault.close()


if __name__ == "__main__":
    main()
