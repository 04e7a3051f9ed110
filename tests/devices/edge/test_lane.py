"""Lanes, ticks and sessions against real TCP servers: cadence, turns, overruns, outages."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from devices import drivers, wire
from devices.drivers.base import Channel, Driver
from devices.edge import session as session_module
from devices.edge.clock import Clock
from devices.edge.recorder import Recorder
from devices.edge.spool import Spool
from devices.errors import ConfigurationError, InUse, LinkError, ReplyError
from devices.readings import Quality, Reading
from devices.wire import Batch, Order
from tests.devices.edge.doubles import order, rows
from tests.devices.edge.world import Line, World, until


class Probe(Driver):
    """Asks one line; what it gets decides what it does."""

    label = "Probe"
    schemes = ("tcp",)
    example = "tcp://127.0.0.1:1"
    channels = (Channel("a", "a"), Channel("b", "b"))

    async def read(self) -> list[Reading]:
        link: Any = self.link
        answer = (await link.ask(b"?\n")).decode()
        if answer == "garbage":
            raise ReplyError("garbage")
        if answer == "never":
            raise ConfigurationError("cannot be")
        if answer == "taken":
            raise InUse("another client has it")
        if answer == "bug":
            raise KeyError("bug")
        if answer == "nothing":
            return []
        if answer == "strange":
            return [Reading("a", 10**400), Reading("b", 1)]
        return [Reading("a", float(answer)), Reading("b", answer)]


class Witness:
    """Another edge's instrument: when it has been polled, what did not happen here would have happened."""

    def __init__(self, world: World, line: Line) -> None:
        self.world, self.line = world, line
        world.tell(one(line, "witness"))

    async def polls(self, count: int) -> None:
        wanted = self.line.requests + count
        await until(lambda: self.line.requests >= wanted)


@pytest.fixture(autouse=True)
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(drivers.OWN, "probe", f"{__name__}:Probe")
    drivers.load.cache_clear()
    yield
    drivers.load.cache_clear()


@pytest.fixture
async def witness(tmp_path: Path) -> AsyncIterator[Witness]:
    line = Line()
    await line.start()
    folder = tmp_path / "witness"
    folder.mkdir()
    world = World(folder)
    yield Witness(world, line)
    await world.stop()
    line.stop()


def one(line: Line, instrument: str = "i", **changes: Any) -> Order:
    return order(instrument, line.address, driver="probe", **changes)


async def test_polls_keep_time(world: World, line: Line) -> None:
    world.tell(one(line, interval=0.1, phase=0.03))
    await until(lambda: line.requests >= 8)
    await world.stop()
    times = [time for time, _ in world.rows()]
    steps = [after - before for before, after in pairwise(times)]
    assert line.connections == 1
    assert abs(sum(steps) / len(steps) - 100_000) < 10_000
    mono = [time - world.clock.anchor for time in times]
    assert min((time - 30_000) % 100_000 for time in mono) < 20_000, "due at phase + n * interval"
    assert world.rows()[0][1] == {"a": 21.5, "b": None}
    assert world.batches[0].texts["1"] == "21.5"


async def test_instruments_on_one_link_take_turns(world: World, line: Line) -> None:
    line.delay = 0.02
    world.tell(one(line, "i"), one(line, "j"), one(line, "k"))
    await until(lambda: line.requests >= 9)
    await world.stop()
    assert line.most_under_way == 1
    assert {len(world.rows(name)) >= 2 for name in "ijk"} == {True}


async def test_a_slow_instrument_delays_nobody_on_another_link(world: World, line: Line) -> None:
    slow = Line()
    await slow.start()
    slow.answer = lambda request: None
    world.tell(one(line, "i"), one(slow, "s"))
    await until(lambda: line.requests >= 8, 2)
    await world.stop()
    slow.stop()
    assert world.rows("s") == []


async def test_a_tick_that_comes_during_the_poll_is_counted_and_told(world: World, line: Line) -> None:
    line.delay = 0.35
    world.tell(one(line, interval=0.1))
    await until(lambda: len(line_done(world)) >= 2)
    await world.stop()
    assert line.most_under_way == 1
    assert world.tally.overruns >= 4
    gaps = world.gaps("overrun")
    assert sum(gap.count for gap in gaps) <= world.tally.overruns
    assert all(gap.instrument == "i" and gap.start < gap.end and gap.count >= 2 for gap in gaps)


def line_done(world: World) -> range:
    return range(world.tally.answered)


async def test_a_link_that_is_gone_makes_one_bad_reading_and_one_growing_gap(
    world: World, line: Line
) -> None:
    world.tell(one(line))
    await until(lambda: line.requests >= 3)
    line.answer = lambda request: "close"
    await until(lambda: world.tally.failures >= 3)
    line.answer = lambda request: b"22\n"
    answered = world.tally.answered
    await until(lambda: world.tally.answered >= answered + 3)
    await world.stop()
    bad = [values for _, values in world.rows() if values["a"] is None]
    assert bad == [{"a": None, "b": None}]
    gaps = world.gaps("not connected")
    assert len({gap.start for gap in gaps}) == 1
    assert [gap.end for gap in gaps] == sorted(gap.end for gap in gaps)
    assert gaps[-1].count >= 10
    bad_at = next(time for time, values in world.rows() if values["a"] is None)
    good_after = next(time for time, values in world.rows() if time > bad_at and values["a"] is not None)
    assert 0 <= bad_at - gaps[-1].start < 100_000
    assert abs(gaps[-1].end - good_after) < 1000


async def test_an_instrument_that_somebody_else_has_is_in_use_and_not_away(world: World, line: Line) -> None:
    """And when it is gone after that, one gap ends where the other begins."""
    world.tell(one(line))
    await until(lambda: line.requests >= 3)
    line.answer = lambda request: b"taken\n"
    await until(lambda: world.tally.failures >= 2)
    line.answer = lambda request: "close"
    await until(lambda: world.tally.failures >= 4)
    line.answer = lambda request: b"22\n"
    answered = world.tally.answered
    await until(lambda: world.tally.answered >= answered + 2)
    await world.stop()
    in_use, away = world.gaps("in use")[-1], world.gaps("not connected")[-1]
    assert {gap.start for gap in world.gaps("in use")} == {in_use.start}
    assert in_use.count >= 2
    assert away.count >= 2
    assert in_use.end == away.start
    assert len([values for _, values in world.rows() if values["a"] is None]) == 1, "one change"


async def test_what_hangs_is_broken_off(world: World, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "DEADLINE", 0.2)
    line.answer = lambda request: None
    world.tell(one(line))
    await until(lambda: world.tally.failures >= 1)
    line.answer = lambda request: b"1\n"
    await until(lambda: world.tally.answered >= 1)
    await world.stop()
    assert line.connections == 2
    bad_at = next(time for time, values in world.rows() if values["a"] is None)
    assert bad_at - world.gaps("not connected")[0].start >= 200_000  # from the poll's start, not its end


async def test_an_unusable_answer_is_a_bad_reading_on_a_link_that_is_kept(world: World, line: Line) -> None:
    line.answer = lambda request: b"garbage\n"
    world.tell(one(line))
    await until(lambda: line.requests >= 3)
    await world.stop()
    assert line.connections == 1
    assert world.rows()[0][1] == {"a": None, "b": None}
    assert world.batches[0].qualities is not None
    assert world.batches[0].qualities[0] & 3 == Quality.BAD
    assert world.gaps("not connected") == []


async def test_an_order_that_cannot_work_is_not_tried_again_until_it_changes(
    world: World, line: Line
) -> None:
    line.answer = lambda request: b"never\n"
    world.tell(one(line))
    await until(lambda: world.tally.polls >= 15)
    assert line.requests == 1
    line.answer = lambda request: b"3\n"
    world.tell(one(line, interval=0.2, revision=2), revision=2)
    await asyncio.sleep(0)
    assert line.requests == 1
    other = Line()
    await other.start()
    world.tell(one(other, revision=3), revision=3)
    await until(lambda: other.requests >= 2)
    await world.stop()
    other.stop()


async def test_an_unknown_driver_is_told_once(
    world: World, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    world.tell(one(line), order("x", line.address, driver="nothing"), order("y", "nonsense", driver="probe"))
    await until(lambda: line.requests >= 5)
    await world.stop()
    assert caplog.text.count("no driver 'nothing'") == 1
    assert {gap.instrument for gap in world.gaps("not connected")} == {"x", "y"}


async def test_a_drivers_mistake_harms_nobody_else(
    world: World, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter(["bug"] * 1)
    line.answer = lambda request: next(answers, "7").encode() + b"\n"
    world.tell(one(line, "i"), one(line, "j"))
    await until(lambda: world.tally.answered >= 3)
    await world.stop()
    assert world.tally.failures == 1
    assert "KeyError" in caplog.text


async def test_a_value_that_is_none_harms_nobody_else(world: World, line: Line) -> None:
    line.answer = lambda request: b"strange\n"
    world.tell(one(line, "i"))
    await until(lambda: world.tally.answered >= 1)
    line.answer = lambda request: b"7\n"
    answered = world.tally.answered
    await until(lambda: world.tally.answered >= answered + 2)
    await world.stop()
    assert world.rows()[0][1] == {"a": None, "b": 1.0}
    assert world.rows()[-1][1] == {"a": 7.0, "b": None}
    assert not world.gaps("not connected")


async def test_answered_with_nothing_new_is_seen(world: World, line: Line) -> None:
    line.answer = lambda request: b"nothing\n"
    world.tell(one(line))
    await until(lambda: line.requests >= 3)
    await world.stop()
    assert world.rows() == []
    seen: list[int] = [number for batch in world.batches for number in batch.seen]
    assert len(seen) >= 4
    assert world.batches[0].instruments == ["i"]


async def test_an_interval_changes_without_a_new_connection(
    world: World, line: Line, witness: Witness
) -> None:
    world.tell(one(line, interval=86_400.0, phase=50_000.0))
    world.tell(one(line, interval=0.1, revision=2), revision=2)
    await until(lambda: line.requests >= 3)
    world.tell(one(line, interval=86_400.0, phase=50_000.0, revision=3), revision=3)
    before = line.requests
    await witness.polls(3)
    assert line.requests <= before + 1
    await world.stop()
    assert line.connections == 1


async def test_a_stopped_instrument_is_let_go(world: World, line: Line, witness: Witness) -> None:
    world.tell(one(line))
    await until(lambda: world.tally.connected == 1)
    world.tell(revision=2)
    await until(lambda: world.tally.connected == 0)
    requests = line.requests
    await witness.polls(3)
    assert line.requests <= requests + 1
    await world.stop()


async def test_without_the_name_nothing_is_polled(world: World, line: Line, witness: Witness) -> None:
    world.tell(one(line))
    await until(lambda: line.requests >= 2)
    world.poller.hold(False)
    await until(lambda: world.tally.connected == 0)
    requests = line.requests
    await witness.polls(3)
    assert line.requests == requests
    world.poller.hold(True)
    await until(lambda: line.requests > requests)
    await world.stop()


async def test_the_book_is_written_down(world: World, line: Line) -> None:
    world.tell(one(line))
    await until(lambda: world.kept)
    assert [kept.instrument for kept in world.kept[0].orders] == ["i"]
    await world.stop()


def test_pauses_grow_with_the_outage() -> None:
    error = LinkError("gone")
    assert 1 <= session_module._pause(0, error) <= 1
    assert 2 <= session_module._pause(10, error) <= 2.5
    assert 48 <= session_module._pause(10_000, error) <= 60
    assert session_module._pause(0, ConfigurationError("no")) == float("inf")


def test_numbers_that_are_none(tmp_path: Path) -> None:
    clock = Clock()
    clock.sure = True
    spool = Spool(tmp_path, 1 << 26, clock.now())
    recorder = Recorder(spool, clock, "boot", lambda sequences: None)
    recorder.start(lambda first: [])
    nan, inf = float("nan"), float("inf")
    recorder.add("i", [Reading("a", 1), Reading("b", True)], 1_000_000)
    recorder.add("i", [Reading("a", nan), Reading("b", -inf, Quality.UNCERTAIN)], 2_000_000)
    recorder.add("i", [Reading("a", "text"), Reading("b", None)], 3_000_000)
    recorder.add("i", [Reading("a", 1e308), Reading("b", 1e308)], 4_000_000)
    recorder.add("i", [Reading("a", 5.0, time=77), Reading("b", 6.0)], 5_000_000)
    assert recorder.finish(10)
    batch: Batch = wire.unpack(spool.pending(0, 1 << 60, 1 << 20)[0].row.packed)
    spool.close()
    assert batch.values == [1.0, 1.0, None, None, None, None, 1e308, 1e308, 5.0, 6.0]
    assert batch.qualities == [0, 0, 2, 2, 0, 0, 0, 0, 16, 0]
    assert batch.texts == {"4": "text"}
    assert [time for _, time, _ in rows(batch)] == [1_000_000, 2_000_000, 3_000_000, 4_000_000, 77, 5_000_000]
