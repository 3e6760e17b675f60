"""The tree of errors: as drawn, with a status and a title each."""

from __future__ import annotations

import re

import pytest

from minivault import errors
from minivault.errors import FieldError, InvalidRequest, MiniVaultError


def tree(of: type[MiniVaultError]) -> list[type[MiniVaultError]]:
    return [of, *(each for child in of.__subclasses__() for each in tree(child))]


OURS = [each for each in tree(MiniVaultError) if each.__module__ == errors.__name__]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = re.findall(r"^([│ ├└─]*)(\w+) ", str(errors.__doc__).split("\n\n", 1)[1], re.MULTILINE)
    depths = {name: len(indent) // 4 for indent, name in drawn}
    assert set(depths) == {each.__name__ for each in OURS}
    for each in OURS:
        assert depths[each.__name__] == each.__mro__.index(MiniVaultError), each


def test_the_statuses_are_drawn_as_they_are() -> None:
    drawn = re.findall(r"(\w+) +(\d{3})\b", str(errors.__doc__))
    for name, status in drawn:
        assert getattr(errors, name).status == int(status), name


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_each_says_when_it_happens_and_has_a_title_of_its_own(error: type[MiniVaultError]) -> None:
    assert error.__doc__
    assert "title" in vars(error)


def test_an_invalid_request_names_its_fields() -> None:
    error = InvalidRequest([FieldError("top_k", "too small"), FieldError("seed", "too large")])
    assert error.detail == "top_k: too small; seed: too large"
