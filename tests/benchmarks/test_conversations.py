"""What measures conversations asks the same of both servers, and shows what it found."""

from __future__ import annotations

import json

from benchmarks import turns
from benchmarks.speculation import Texts, cells
from benchmarks.texts import OTHER_EDITS, TASKS


def body(request: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(request.partition(b"\r\n\r\n")[2])
    return found


def test_every_prompt_is_asked_with_every_seed_and_the_last_wave_is_full() -> None:
    waves = Texts(tokens=40, temperature=0.8, seeds=2).waves(["one", "two", "three"], 4)
    assert [len(wave) for wave in waves] == [4, 4]
    asked = [body(each) for wave in waves for each in wave]
    pairs = {(each["messages"][0]["content"], each["seed"]) for each in asked}  # type: ignore[index]
    assert pairs == {(text, seed) for text in ("one", "two", "three") for seed in (0, 1)}
    assert {each["max_tokens"] for each in asked} == {40}


def test_before_the_texts_each_prompt_is_there_for_one_token() -> None:
    [request] = Texts(tokens=40, temperature=0.8, seeds=2).first_tokens(["one"])
    assert body(request)["max_tokens"] == 1


def test_there_are_six_tasks_of_as_many_prompts() -> None:
    assert len(TASKS) == 6
    assert {len(prompts) for prompts in (*TASKS.values(), OTHER_EDITS)} == {4}


def test_texts_that_differ_stand_out() -> None:
    row = {"at_once": 1, "task": "a task", "without": 100.0, "with": 150.0, "gain": 1.5}
    assert cells({**row, "least": 1.4, "right": 0.71, "same": True})[4:] == [
        "1.50 (≥ 1.4)",
        "71%",
        "yes",
    ]
    assert cells({**row, "least": 1.6, "right": None, "same": False})[4:] == [
        "**1.50 (≥ 1.6)**",
        "",
        "**no**",
    ]


def test_no_two_conversations_begin_alike() -> None:
    messages = {turns._message(number, turn) for number in range(9) for turn in range(5)}
    assert len({each[:8] for each in messages}) == 45
