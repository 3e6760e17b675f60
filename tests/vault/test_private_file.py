"""The vault's files are ours alone: no links, no foreign owners, no rights for others."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minivault.errors import CannotStart
from minivault.vault import Vault, derive, load_secret
from tests.vault.samples import write


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    before = os.umask(0)
    try:
        load_secret(folder / "secret")
        vault = Vault(folder, max_bytes=1500)
        vault.open()
        for number in range(4):
            write(vault, f"g{number}")
        modes = {path.name: _mode(path) for path in folder.iterdir()}
        vault.close()
    finally:
        os.umask(before)
    assert _mode(folder) == 0o700
    assert len(modes) >= 5
    assert set(modes.values()) == {0o600}, modes


def test_rights_of_others_are_taken_away(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    log = tmp_path / "log.jsonl"
    log.touch()
    log.chmod(0o666)
    vault = Vault(tmp_path)
    vault.open()
    vault.close()
    assert (_mode(tmp_path), _mode(log)) == (0o700, 0o600)


def _symlink(path: Path) -> None:
    path.symlink_to(path.with_name("victim"))


def _hardlink(path: Path) -> None:
    path.hardlink_to(path.with_name("victim"))


def _foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    path.touch()
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize("place", [_symlink, _hardlink, _foreign, os.mkfifo, Path.mkdir])
@pytest.mark.parametrize("name", ["log.jsonl", ".lock", "checkpoint", "inflight-1-a.000001.jsonl"])
def test_what_is_no_private_file_is_refused(place: object, name: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"x")
    place(tmp_path / name)  # type: ignore[operator]  # one of the functions above
    with pytest.raises(CannotStart) as caught:
        Vault(tmp_path).open()
    assert "\n" not in str(caught.value)
    assert (tmp_path / "victim").read_bytes() == b"x"


def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="cannot be used"):
        Vault(tmp_path / "file").open()
    if os.geteuid() == 0:
        (tmp_path / "foreign").mkdir()
        os.chown(tmp_path / "foreign", 12345, 12345)
        with pytest.raises(CannotStart, match="belongs to another user"):
            Vault(tmp_path / "foreign").open()


def test_the_secret_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "secret"
    secret = load_secret(path)
    assert len(secret) == 32
    assert load_secret(path) == secret
    assert _mode(path) == 0o600
    assert derive(secret, "one") != derive(secret, "two")
    assert [each.name for each in path.parent.iterdir()] == ["secret"]


def test_a_secret_that_others_could_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    load_secret(path)
    path.chmod(0o640)
    with pytest.raises(CannotStart, match="can be read by others"):
        load_secret(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(CannotStart, match="too short"):
        load_secret(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotStart):
        load_secret(path)
