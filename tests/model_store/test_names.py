from __future__ import annotations

from pathlib import Path

import pytest

from minivault.errors import ModelNotFound
from minivault.model_store.names import can_be_pulled, canonical, hub_id, is_path, name_of_folder


@pytest.mark.parametrize("name", ["gpt2", "a", "A.b-c_d", "org/name", "x" * 64, "0/1", "-a"])
def test_names_are_letters_digits_dots_dashes_underscores(name: str) -> None:
    assert canonical(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/.b", "a/../b", "a/b/c", "a//b", "/a", "a/", "x" * 65, "é", "a b"]
    + ["a\\b", "a\n", "a%2e", "C:a", "a\x00"],
)
def test_everything_else_is_no_name(name: str) -> None:
    with pytest.raises(ModelNotFound, match="can be no model"):
        canonical(name)


def test_distilgpt2_has_one_name_and_one_repository() -> None:
    assert canonical("distilbert/distilgpt2") == "distilgpt2"
    assert hub_id("distilgpt2") == "distilbert/distilgpt2"
    assert hub_id("org/name") == "org/name"


def test_the_hub_has_distilgpt2_and_what_has_an_organisation_an_index_smollm2() -> None:
    asked = ("distilgpt2", "org/name", "smollm2", "name", "storyteller")
    assert [can_be_pulled(name) for name in asked] == [True, True, True, False, False]


def test_a_path_is_absolute_or_begins_with_a_dot_or_tilde_or_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "model").mkdir(parents=True)
    (tmp_path / "plain").mkdir()
    for path in ("/a", "./a", "../a", "~/a", ".", "some/model"):
        assert is_path(path), path
    for name in ("plain", "other/model", "gpt2", ".hidden"):
        assert not is_path(name), name


def test_a_folder_is_called_by_its_last_part_in_plain_letters() -> None:
    assert name_of_folder(Path("/x/my model é")) == "my-model--"
    assert name_of_folder(Path("/x/..hidden")) == "hidden"
    assert name_of_folder(Path("/")) == "model"
