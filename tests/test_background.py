"""Whatever ends work in the background, whoever waits for it is told, and the loop lives on."""

from __future__ import annotations

import asyncio

import pytest

from minivault.background import (
    Unforeseen,
    describe,
    guarded,
    in_thread,
    kind,
    start_task,
    start_thread,
)


class Panic(BaseException):
    """As extensions raise it: no Exception."""


ENDS = [ValueError("half"), StopIteration(1), Panic("core"), SystemExit(3), KeyboardInterrupt()]
CANCELLED = asyncio.CancelledError()


def thrower(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [*ENDS, CANCELLED], ids=kind)
def test_a_thread_of_the_pool_is_never_waited_for_in_vain(error: BaseException) -> None:
    async def wait() -> Exception:
        async with asyncio.timeout(60):
            with pytest.raises(Exception) as raised:  # noqa: PT011
                await in_thread(thrower, error)
        return raised.value

    raised = asyncio.run(wait())
    assert kind(raised) == type(error).__name__
    assert error in (raised, raised.__cause__)


@pytest.mark.parametrize("error", [*ENDS, CANCELLED], ids=kind)
def test_a_thread_of_its_own_hands_over_whatever_it_raised(error: BaseException) -> None:
    future = start_thread(lambda: thrower(error), name="test")
    with pytest.raises(Exception) as raised:  # noqa: PT011
        future.result(10)
    assert kind(raised.value) == type(error).__name__


def test_what_works_gives_its_result() -> None:
    assert start_thread(lambda: 5, name="test").result(10) == 5
    assert asyncio.run(in_thread(divmod, 7, 2)) == (3, 1)


async def raising(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize("error", [*ENDS[:1], *ENDS[2:], CANCELLED], ids=kind)
def test_a_task_tells_of_its_end_and_the_loop_goes_on(error: BaseException) -> None:
    told: list[Exception] = []

    async def live_on() -> None:
        task = start_task(raising(error), failed=told.append)
        await asyncio.wait([task], timeout=60)
        await asyncio.sleep(0)

    asyncio.run(live_on())
    assert [kind(each) for each in told] == [type(error).__name__]


def test_a_task_that_is_cancelled_has_not_failed() -> None:
    told: list[Exception] = []

    async def cancel() -> None:
        task = start_task(asyncio.Event().wait(), failed=told.append)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=60)
        assert task.cancelled()

    asyncio.run(cancel())
    assert told == []


def test_a_coroutine_that_is_given_up_can_be_closed() -> None:
    async def begin() -> None:
        work = guarded(asyncio.Event().wait())
        work.send(None)
        work.close()

    asyncio.run(begin())


def test_an_error_is_described_by_type_and_words() -> None:
    assert describe(ValueError("half")) == "ValueError: half"
    assert describe(MemoryError()) == "MemoryError"
    assert describe(Unforeseen(Panic("core"))) == "Panic: core"
