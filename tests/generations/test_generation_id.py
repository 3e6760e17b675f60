"""Ids carry what is needed to go on, tell nothing, and cannot be forged."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minivault.generations.generation_id import EventId, GenerationIds, parse_event_id
from minivault.parsing import parse_parameters
from minivault.schemas import MAX_SEED

IDS = GenerationIds(b"s" * 32)
ASKED = parse_parameters({"prompt": "hello"})


@given(st.integers(0, MAX_SEED), st.binary(min_size=8, max_size=8))
def test_an_id_gives_back_what_it_was_made_of(seed: int, engine: bytes) -> None:
    id = IDS.make(seed, IDS.request_hash(ASKED), engine)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id)
    parts = IDS.read(id)
    assert parts is not None
    assert (parts.seed, parts.engine) == (seed, engine)
    assert parts.request == IDS.request_hash(ASKED)


def test_no_changed_character_is_accepted() -> None:
    id = IDS.make(5, IDS.request_hash(ASKED), b"e" * 8)
    for place in range(len(id)):
        for other in "A-_z9":
            if other != id[place]:
                assert IDS.read(id[:place] + other + id[place + 1 :]) is None


def test_an_id_is_unknown_in_the_hands_of_another_caller() -> None:
    id = IDS.make(5, IDS.request_hash(ASKED), b"e" * 8, "anna")
    assert IDS.read(id, "anna") is not None
    assert [IDS.read(id, other) for other in ("", "ann", "anna2", "bert")] == [None] * 4


def test_two_ids_of_the_same_request_differ_and_another_secret_reads_neither() -> None:
    made = [IDS.make(5, IDS.request_hash(ASKED), b"e" * 8) for _ in range(2)]
    assert made[0] != made[1]
    other = GenerationIds(b"t" * 32)
    assert other.read(made[0]) is None
    assert other.request_hash(ASKED) != IDS.request_hash(ASKED)


def test_the_request_hash_covers_everything_but_the_key() -> None:
    base: dict[str, Any] = {"prompt": "hello"}
    changes: list[dict[str, Any]] = [
        {"prompt": "hello "},
        {"max_tokens": 5},
        {"temperature": 0.5},
        {"top_k": 1},
        {"top_p": 0.5},
        {"repetition_penalty": 1.5},
        {"stop": ["x"]},
        {"seed": 1},
        {"top_logprobs": 2},
        {"end_at_sentence": True},
    ]
    hashes = {IDS.request_hash(parse_parameters(base | change)) for change in [{}, *changes]}
    assert len(hashes) == len(changes) + 1
    assert IDS.request_hash(parse_parameters(base | {"key": "my-key-1"})) in hashes


def test_event_ids_are_read_strictly() -> None:
    id = "x" * 64
    assert parse_event_id(f"{id}.12") == EventId(id, 12)
    assert parse_event_id(f"{id}.gone") == EventId(id, None)
    for bad in (id, f"{id}.", f"{id}.-1", f"{id}.1 ", f"{id}:1", f"{id[1:]}.1", f"{id}.1e3", ""):
        assert parse_event_id(bad) is None
