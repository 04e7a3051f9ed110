"""One timer for many turns: what is in time passes, what is not ends, and a cancellation stays one."""

import asyncio

import pytest

from devices.edge.deadline import Deadline


async def test_what_is_in_time_passes_again_and_again() -> None:
    deadline = Deadline(60.0)
    for _ in range(3):
        with deadline:
            await asyncio.sleep(0)
    assert deadline._timer is not None
    deadline.close()
    assert deadline._timer is None


async def test_what_hangs_ends_and_the_next_turn_has_its_whole_time() -> None:
    deadline = Deadline(0.05)
    for _ in range(2):
        with pytest.raises(TimeoutError), deadline:
            await asyncio.Event().wait()
    with deadline:
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    deadline.close()


async def test_a_turn_begun_late_in_the_timers_life_has_its_whole_time() -> None:
    deadline = Deadline(0.3)
    with deadline:
        await asyncio.sleep(0.2)
    with deadline:
        await asyncio.sleep(0.2)
    deadline.close()


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    deadline = Deadline(60.0)
    entered = asyncio.Event()

    async def hang() -> None:
        with deadline:
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    deadline.close()


async def test_both_at_once_is_a_cancellation() -> None:
    deadline = Deadline(0.01)

    async def hang() -> None:
        with deadline:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(hang())


async def test_it_serves_one_turn_at_a_time() -> None:
    deadline = Deadline(60.0)
    with deadline, pytest.raises(RuntimeError), deadline:
        pass
    deadline.close()
