"""The vault's files are ours alone: no links, no foreign owners, no rights for others."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from minivault.errors import CannotStart
from minivault.vault import Vault, derive, load_secret
from minivault.vault.signing import write_keys
from tests.vault.samples import write


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _modes(folder: Path) -> dict[str, int]:
    """Of all files below it."""
    return {path.name: _mode(path) for path in folder.rglob("*") if path.is_file()}


def test_everything_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    before = os.umask(0)
    try:
        load_secret(folder / "secret")
        vault = Vault(folder, max_bytes=1500)
        vault.open()
        for number in range(4):
            write(vault, f"g{number}")
        modes = _modes(folder)
        vault.close()
    finally:
        os.umask(before)
    assert _mode(folder) == 0o700
    assert len(modes) >= 5
    assert set(modes.values()) == {0o600}, modes
    folders = [path for path in folder.rglob("*") if path.is_dir()]
    assert {_mode(path) for path in folders} == {0o700}


def test_what_was_there_keeps_its_mode_and_is_refused_if_it_is_not_private(tmp_path: Path) -> None:
    folder = tmp_path / "my logs"  # a command that is suggested works with blanks too
    folder.mkdir(mode=0o755)
    vault = Vault(folder)  # others may look into it: what they find is closed to them
    vault.open()
    write(vault, "a")
    vault.close()
    assert _mode(folder) == 0o755
    assert set(_modes(folder).values()) == {0o600}
    folder.chmod(0o775)  # by umask 002, where everybody has a group of their own
    Vault(folder).open()
    folder.chmod(0o777)
    with pytest.raises(CannotStart, match=f"others may write to it; chmod go-w '{folder}'"):
        Vault(folder).open()
    folder.chmod(0o755)
    log = folder / "log.jsonl"
    log.chmod(0o644)
    with pytest.raises(CannotStart, match=f"open to others; chmod 600 '{log}'"):
        Vault(folder).open()
    assert (_mode(folder), _mode(log)) == (0o755, 0o644)
    log.chmod(0o600)
    Vault(folder).open()


@pytest.mark.parametrize("mode", [0o622, 0o640, 0o604])
def test_a_signing_key_that_is_not_private_is_refused(mode: int, tmp_path: Path) -> None:
    key = tmp_path / "key"
    write_keys(key, tmp_path / "key.pub")
    key.chmod(mode)
    with pytest.raises(CannotStart, match=f"chmod 600 {key}"):
        Vault(tmp_path / "logs", signing_key=key).open()
    assert _mode(key) == mode


def test_a_killed_start_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    secret = load_secret(tmp_path / "secret")
    (tmp_path / ".secret.0123456789abcdef").hardlink_to(tmp_path / "secret")  # 0.1.0 did
    (tmp_path / ".secret.new").write_bytes(b"half")
    assert load_secret(tmp_path / "secret") == secret
    (tmp_path / "secret").unlink()
    assert len(load_secret(tmp_path / "secret")) == 32
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    write_keys(tmp_path / "key", tmp_path / "key.pub")
    public = (tmp_path / "key.pub").read_bytes()
    (tmp_path / "key.pub").unlink()
    write_keys(tmp_path / "key", tmp_path / "key.pub")
    assert (tmp_path / "key.pub").read_bytes() == public


def test_a_hard_link_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").touch(mode=0o600)
    (tmp_path / "backup").hardlink_to(tmp_path / "log.jsonl")
    with pytest.raises(CannotStart, match="second name") as caught:
        Vault(tmp_path).open()
    subprocess.run(str(caught.value).partition("file again: ")[2], shell=True, check=True)
    vault = Vault(tmp_path)
    vault.open()
    vault.close()


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
@pytest.mark.parametrize(
    "name", ["log.jsonl", "checkpoint", "inflight-1-a.000001.jsonl", "tree/checkpoint"]
)
def test_what_is_no_private_file_is_refused(place: object, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.with_name("victim").write_bytes(b"x")
    place(path)  # type: ignore[operator]  # one of the functions above
    with pytest.raises(CannotStart) as caught:
        Vault(tmp_path).open()
    assert "\n" not in str(caught.value)
    assert path.with_name("victim").read_bytes() == b"x"


def test_a_tree_that_is_a_link_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "tree").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotStart, match="tree is not a folder"):
        Vault(tmp_path / "logs").open()


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
