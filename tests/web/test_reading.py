"""Long reads: shared, bounded, ended with their askers, and behind generations."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from minivault.backends.echo import EchoBackend
from minivault.errors import Unavailable
from minivault.vault import Vault
from minivault.vault.verify import verify
from minivault.web import logs
from minivault.web.reading import AT_ONCE, MOST_WAITING, Abandoned, ReadingRoom, Turn
from tests.live import LiveServer, live_server, wait_for
from tests.vault.samples import begin, outcome
from tests.web.asking import JSON, ask, connection, generate, in_loop


def reading(server: LiveServer) -> int:
    """How many reads are under way."""
    return in_loop(server, lambda: len(room_of(server)._under_way))


def room_of(server: LiveServer) -> ReadingRoom:
    app = server.server.config.app
    room: ReadingRoom = app.state.reading_room  # type: ignore[union-attr]
    return room


def filled(folder: Path, records: int) -> Path:
    """A log of so many records."""
    vault = Vault(folder, fsync=False)
    vault.open()
    pairs = [(vault.begin(begin(f"g{number}")), outcome(" there")) for number in range(records)]
    for receipt in [vault.commit(entry.result(), end) for entry, end in pairs]:
        receipt.result()
    vault.close()
    return folder


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, a verification goes on for ever."""
    open_gate = threading.Event()

    def slow(folder: Path, progress: Turn) -> object:
        while not open_gate.is_set():
            progress(1)
            time.sleep(0.001)
        return verify(folder, progress=progress)

    monkeypatch.setattr(logs, "verify", slow)
    return open_gate


def test_sixty_who_ask_for_a_verification_and_hang_up_keep_nobody_waiting(
    tmp_path: Path, held: threading.Event
) -> None:
    with live_server(tmp_path) as server:
        with ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(connection(server, "GET", "/logs/verify", JSON))
            wait_for(lambda: reading(server) == 1)
            assert generate(server, max_tokens=2).status_code == 200
        wait_for(lambda: reading(server) == 0)  # it ended with its last asker


def test_who_asks_meanwhile_shares_the_answer(tmp_path: Path, held: threading.Event) -> None:
    with live_server(tmp_path) as server:
        generate(server, max_tokens=2)
        with ThreadPoolExecutor(8) as clients:
            asked = [clients.submit(ask, server, "GET", "/logs/verify") for _ in range(8)]
            wait_for(lambda: reading(server) == 1)
            wait_for(lambda: in_loop(server, lambda: askers(server)) == 8)
            held.set()
            answers = [each.result().json() for each in asked]
        assert {json.dumps(each) for each in answers} == {json.dumps(answers[0])}
        assert answers[0]["ok"] is True
        assert ask(server, "GET", "/logs/verify").json()["last"] == 1


def askers(server: LiveServer) -> int:
    return sum(each._askers for each in room_of(server)._under_way.values())


def test_one_who_leaves_ends_nothing_for_the_others(tmp_path: Path, held: threading.Event) -> None:
    with live_server(tmp_path) as server, ThreadPoolExecutor(1) as clients:
        with connection(server, "GET", "/logs/verify", JSON):
            stays = clients.submit(ask, server, "GET", "/logs/verify")
            wait_for(lambda: in_loop(server, lambda: askers(server)) == 2)
        wait_for(lambda: in_loop(server, lambda: askers(server)) == 1)
        held.set()
        assert stays.result().json()["ok"] is True


def test_a_download_whose_client_goes_ends(tmp_path: Path) -> None:
    filled(tmp_path / "logs", 3000)
    with live_server(tmp_path) as server:
        for _ in range(5):
            with connection(server, "GET", "/logs/download?q=nothing+like+it", JSON):
                pass
        whole = ask(server, "GET", "/logs/download")
        assert len(whole.text.splitlines()) == 3000
        wait_for(lambda: reading(server) == 0)


def test_a_large_model_that_nobody_downloaded_keeps_nobody_waiting(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "foreign"
    folder.mkdir(parents=True)
    header = json.dumps({"w": {"dtype": "U8", "shape": [2**28], "data_offsets": [0, 2**28]}})
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header.encode())
        file.truncate(8 + len(header) + 2**28)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    (folder / "tokenizer.json").write_text("{}")
    with live_server(tmp_path) as server:
        for _ in range(20):
            with connection(server, "GET", "/models", JSON):
                pass
        wait_for(lambda: reading(server) == 0, seconds=60)
        found = ask(server, "GET", "/models").json()["models"]
    assert [each["sha256"] for each in found if each["name"] == "foreign"]


# ---- the room ----------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", [False, True])
def test_while_texts_are_made_a_read_rests_three_quarters_of_the_time(
    busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = Turn(lambda: busy)
    rests: list[float] = []
    monkeypatch.setattr(turn._abandoned, "wait", rests.append)
    turn._began -= 0.02  # so long it has worked
    turn()
    assert len(rests) == busy
    assert not busy or 0.06 <= rests[0] <= 0.15


def test_more_than_can_be_read_is_refused_and_what_waits_ends_at_the_close() -> None:
    async def crowd() -> list[BaseException | None]:
        room = ReadingRoom()
        gate = threading.Event()

        def wait(turn: Turn) -> None:
            while not gate.wait(0.001):
                turn()

        asked = [room.begin(wait) for _ in range(AT_ONCE + MOST_WAITING)]
        with pytest.raises(Unavailable):
            room.begin(wait)
        room.close()
        ends = await asyncio.gather(*(each.result() for each in asked), return_exceptions=True)
        return [each for each in ends if not isinstance(each, asyncio.CancelledError)]

    assert {type(each) for each in asyncio.run(crowd())} <= {Abandoned}


def test_what_its_last_asker_gave_up_is_begun_anew_for_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def twice() -> int:
        room = ReadingRoom()
        begun = 0

        def read(turn: Turn) -> int:
            nonlocal begun
            begun += 1
            while begun == 1:
                turn()
                time.sleep(0.001)
            return begun

        first = asyncio.create_task(room.read(read, key="log"))
        while not begun:
            await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        try:
            return await room.read(read, key="log")
        finally:
            room.close()

    assert asyncio.run(twice()) == 2
    gc.collect()
    assert caplog.records == [], "nobody is told of what nobody waits for"


def test_an_error_of_a_read_is_told_to_its_asker(tmp_path: Path) -> None:
    with live_server(tmp_path, EchoBackend()) as server:
        assert ask(server, "GET", "/logs/records/99").status_code == 404
