"""Settings: defaults, variables, keys from files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from minivault.settings import Settings


@pytest.fixture(autouse=True)
def _nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MINIVAULT_")]:
        monkeypatch.delenv(name)


def test_the_defaults_are_safe() -> None:
    settings = Settings()
    assert settings.host == "127.0.0.1"
    assert settings.port == 8000
    assert settings.model is None
    assert (settings.models_dir, settings.logs_dir) == (Path("models"), Path("logs"))
    assert (settings.max_running, settings.max_waiting) == (32, 32)
    assert settings.drain == 5
    assert not settings.insecure
    assert not settings.offline
    assert settings.store_text


def test_every_field_is_described_in_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_field_is_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "dtype": "int8",
        "device": "cpu",
        "runner": "native",
        "store_text": "no",
        "context": "4096",
        "splice": "no",
        "upstream": "http://127.0.0.1:9000",
        "witness": "https://w.example#key",
        "ship_every": "7",
        "witness_every": "7",
        "plain_chat": "no",
        "max_body": "1 MiB",
        "kv_memory": "1 MiB",
        "log_max_bytes": "1 MiB",
        "host": "::1",
        "trusted_origin": "https://example.org",
    }
    monkeypatch.setenv(f"MINIVAULT_{name.upper()}", values.get(name, "1"))
    assert getattr(Settings(), name) != getattr(Settings.model_construct(), name)


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAULT_THREADS", "")
    monkeypatch.setenv("MINIVAULT_API_KEY", "")
    assert Settings().threads is None
    assert Settings().api_key == []


def test_keys_come_from_a_file_one_to_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text("first\nsecond\n\n", encoding="utf-8")
    monkeypatch.setenv("MINIVAULT_API_KEY", f"@{tmp_path}/keys,third")
    keys = [key.get_secret_value() for key in Settings().api_key]
    assert keys == ["first", "second", "third"]


LISTS = ["api_key", "log_key", "allowed_host", "trusted_origin"]


def test_blank_items_of_a_list_vanish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAULT_API_KEY", "first-key, second-key, ")
    monkeypatch.setenv("MINIVAULT_TRUSTED_ORIGIN", " , https://example.org,")
    settings = Settings(allowed_host=["", " a.example "])
    keys = [key.get_secret_value() for key in settings.api_key]
    assert keys == ["first-key", "second-key"]
    assert settings.trusted_origin == ["https://example.org"]
    assert settings.allowed_host == ["a.example"]


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("blank", [" ", ",", " , ,\t", [""], [" ", ""], [","], [" , "]])
def test_a_list_of_which_nothing_is_left_is_refused(
    name: str, blank: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationError, match=f"(?s){name}.*holds no "):
        Settings(**{name: blank})
    if isinstance(blank, str):
        monkeypatch.setenv(f"MINIVAULT_{name.upper()}", blank)
        with pytest.raises(ValidationError, match=f"(?s){name}.*holds no "):
            Settings()


@pytest.mark.parametrize("name", ["api_key", "log_key"])
@pytest.mark.parametrize("content", ["", "\n \n", ",\n", "# only a comment\n"])
def test_a_key_file_without_a_key_is_refused_beside_other_keys_too(
    name: str, content: str, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(content, encoding="utf-8")
    given: dict[str, Any] = {name: [f"@{tmp_path}/keys", "another-key"]}
    with pytest.raises(ValidationError, match="keys holds no key"):
        Settings(**given)


def test_the_words_of_a_comment_are_no_keys(tmp_path: Path) -> None:
    lines = ["# keys of the team", "first#1  # of Anna's laptop", "", "  second", "#old"]
    (tmp_path / "keys").write_text("\n".join(lines), encoding="utf-8")
    keys = [key.get_secret_value() for key in Settings(api_key=[f"@{tmp_path}/keys"]).api_key]
    assert keys == ["first#1", "second"]
    (tmp_path / "keys").write_text("first\nof the team\n", encoding="utf-8")
    with pytest.raises(ValidationError, match=r"keys, line 2: .*one key a line") as caught:
        Settings(api_key=[f"@{tmp_path}/keys"])
    assert "team" not in str(caught.value)


@pytest.mark.parametrize("origin", ["*", "null", "example.org", "https://", "https://a.b/path"])
def test_what_is_no_origin_is_not_trusted(origin: str) -> None:
    with pytest.raises(ValidationError, match=r"is no origin; https://example\.org is one"):
        Settings(trusted_origin=[origin])


@pytest.mark.parametrize("host", ["*", "https://a.b", "a.b/c", "a b"])
def test_what_is_no_host_is_not_allowed(host: str) -> None:
    with pytest.raises(ValidationError, match="is no name; vault"):
        Settings(allowed_host=[host])


def test_a_name_that_begins_with_an_at_sign_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAULT_ALLOWED_HOST", "@home")
    assert Settings().allowed_host == ["@home"]


def test_keys_are_not_shown() -> None:
    assert "CANARY" not in repr(Settings(api_key=["CANARY"], log_key=["CANARY"]))


def test_an_error_does_not_show_a_key() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(api_key=["CANARY"], port="CANARY")
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "name, value",
    [
        ("port", -1),
        ("port", 65536),
        ("threads", 0),
        ("max_running", 0),
        ("max_running", 20_001),
        ("max_waiting", -1),
        ("drain", -0.1),
        ("kv_memory", "lots"),
        ("dtype", "float8"),
        ("log_keep_files", 0),
        ("log_keep_days", 0),
    ],
)
def test_what_is_out_of_bounds_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})


def test_a_port_of_zero_and_an_empty_queue_are_allowed() -> None:
    assert Settings(port=0, max_waiting=0, drain=0).port == 0
