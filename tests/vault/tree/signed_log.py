"""A log that is the same each time, signed with a key that is no secret, and its golden proofs.

`python -m tests.vault.tree.signed_log` writes the golden files anew; look at what changed in them.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from minivault.vault import checkpoint as checkpoints
from minivault.vault.chain import Head
from minivault.vault.checkpoint import Checkpoint
from minivault.vault.private_file import make_folder
from minivault.vault.record import GENESIS, link, render
from minivault.vault.repair import adopt
from minivault.vault.tree.proof import head_of, prove, prove_growth
from tests.vault.samples import begin, outcome

GOLDEN = Path(__file__).parent / "golden"
RECORDS = 300
OLDER = 100  # an older checkpoint has so many
ORIGIN = "minivault/00112233445566778899aabbccddeeff"

_PRIVATE = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB
-----END PRIVATE KEY-----
"""


def write_key(path: Path) -> None:
    path.write_text(_PRIVATE)
    path.chmod(0o600)


def write_log(folder: Path, key: Path, *, records: int = RECORDS) -> None:
    """The same lines and the same name each time; the tree is signed."""
    make_folder(folder)
    head, lines = Head(), []
    for number in range(1, records + 1):
        timestamp = f"2026-11-23T10:{number // 60 % 60:02d}:{number % 60:02d}.000Z"
        asked = begin(f"g{number}", f"Tale {number}", timestamp=timestamp)
        fields = {**asked.fields(), **outcome(f" of {number} foxes").fields()}
        line = render({**fields, "salt": f"{number:032x}"})
        line += link(head.seq + 1, head.hash, head.redacted)
        head = Head.of(line)
        lines.append(line + b"\n")
    named = checkpoints.dump(Checkpoint(ORIGIN, 0, GENESIS))
    for name, data in (("log.jsonl", b"".join(lines)), ("checkpoint", named)):
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    adopt(folder, key)


def golden(folder: Path, older: Path) -> dict[str, bytes]:
    """The proofs, by their names; `older` is the same log when it was shorter."""
    return {
        "17.tlog-proof": prove(folder, 17).dump(),
        "257.tlog-proof": prove(folder, 257).dump(),
        "300-hash.tlog-proof": prove(folder, 300, hash_only=True).dump(),
        "older-checkpoint": head_of(older).note,
        "growth": prove_growth(folder, head_of(older)).dump(),
        "checkpoint": head_of(folder).note,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_key(place / "key")
        write_log(place / "logs", place / "key")
        write_log(place / "older", place / "key", records=OLDER)
        for file, data in golden(place / "logs", place / "older").items():
            (GOLDEN / file).write_bytes(data)
            print(file, len(data))
        print(json.dumps(head_of(place / "logs").origin))


if __name__ == "__main__":
    main()
