"""What a driver tells between polls, and what goes on from session to session."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from devices import drivers
from devices.drivers.base import Channel, Driver, Option, Secret
from devices.edge import session as session_module
from devices.errors import LinkError, ReplyError
from devices.links.stream import StreamLink
from devices.readings import Event, Flag, Quality, Reading, Run, Vector
from devices.wire import EventRow, Order, RunRow, VectorRow
from tests.devices.edge.doubles import order
from tests.devices.edge.world import Line, World, until

STAMP = 1_764_000_000_000_000  # by an instrument's own clock


class Talker(Driver):
    """Greets; then each line that comes is one of the THINGS it says. Polls only look at the link."""

    label = "Talker"
    schemes = ("tcp",)
    example = "tcp://127.0.0.1:1"
    options = (Option("word", Secret, "", "A password"), Option("gain", float, 1.0, "A factor"))
    channels = (Channel("a", "a"), Channel("v", "v", kind="vector"))
    link: StreamLink
    all: list["Talker"] = []
    ago = 0.0

    async def open(self) -> None:
        Talker.all.append(self)
        self.lost: LinkError | None = None
        self.memory["sessions"] = self.memory.get("sessions", 0) + 1
        self.link.listen(self.hear, self.lose)
        self.link.write(b"hello\n")
        self.tell([Reading("a", self.memory["sessions"])])
        if self.settings["gain"] == 0:
            raise ReplyError("it does not greet back")

    async def read(self) -> list[Reading]:
        if self.lost:
            raise self.lost
        return []

    async def close(self) -> None:
        self.tell([Event("bye", "closing")])

    def lose(self, error: LinkError) -> None:
        self.lost = error

    def hear(self, chunk: bytes) -> None:
        self.heard_ago = self.ago
        for word in chunk.decode().split():
            self.tell(THINGS[word])


THINGS: dict[str, Any] = {
    "reading": [Reading("a", 1.5), Reading("b", "text")],
    "stamped": [Reading("a", 2.5, Quality.UNCERTAIN, STAMP), Reading("a", 3.5, time=STAMP + 1)],
    "vector": [Reading("v", Vector((1.0, float("nan"), None), ("A1", "A2", "A3")))],
    "event": [Event("door", "open", {"by": "hand"}), Event("door", "shut", time=STAMP)],
    "run": [Run("7", "qpcr", "running", "plate", 0.5, STAMP, None, {"cycle": 3}, STAMP)],
    "mixed": [
        Reading("a", 7.0),
        "nonsense",
        Reading("c", object()),  # type: ignore[arg-type]
        Event("door", "x", {"not": object()}),
        Reading("v", Vector((1.0,), ("A1", "A2"))),
        Run("8", "qpcr", "running", fields={"x": float("nan")}),
        Event("door", "after"),
        Reading("b", 8.0),
    ],
    "none": [],
}


@pytest.fixture(autouse=True)
def talker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(drivers.OWN, "talker", f"{__name__}:Talker")
    monkeypatch.setattr(session_module, "RETRY_MIN", 0.05)
    monkeypatch.setattr(session_module, "RETRY_MAX", 0.1)
    drivers.load.cache_clear()
    Talker.all = []
    yield
    drivers.load.cache_clear()


@pytest.fixture
def line(line: Line) -> Line:
    line.answer = lambda request: None
    return line


def one(line: Line, **fields: Any) -> Order:
    return order(**{"instrument": "i", "address": line.address, "driver": "talker", **fields})


def says(line: Line, *words: str) -> None:
    line.answer = lambda request: "".join(f"{word}\n" for word in words).encode()


async def told(world: World, line: Line, **fields: Any) -> None:
    """Polled a few times, then stopped."""
    world.tell(one(line, **fields))
    await until(lambda: world.tally.answered >= 3)
    await world.stop()


def vectors(world: World) -> list[VectorRow]:
    return [row for batch in world.batches for row in batch.vectors]


def events(world: World) -> list[EventRow]:
    return [row for batch in world.batches for row in batch.events if row.kind != "bye"]


def runs(world: World) -> list[RunRow]:
    return [row for batch in world.batches for row in batch.runs]


async def test_readings_are_stamped_when_they_are_told(world: World, line: Line) -> None:
    says(line, "reading")
    before = time.time_ns() // 1000
    await told(world, line)
    (_, first), (stamp, second) = world.rows()
    assert (first, second) == ({"a": 1.0}, {"a": 1.5, "b": None})
    assert before <= stamp <= time.time_ns() // 1000
    assert [text for batch in world.batches for text in batch.texts.values()] == ["text"]
    assert [pair for batch in world.batches for pair in batch.seen], "and each poll is noted as answered"


async def test_what_was_heard_before_is_stamped_as_of_then(
    world: World, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Talker, "ago", 20.0)
    says(line, "reading", "stamped")
    before = time.time_ns() // 1000 - 20_000_000
    await told(world, line)
    after = time.time_ns() // 1000 - 20_000_000
    times = [stamp for stamp, values in world.rows() if "b" in values or stamp in {STAMP, STAMP + 1}]
    assert before <= max(times) <= after
    assert {STAMP, STAMP + 1} <= set(times)


async def test_an_instruments_own_stamp_stays(world: World, line: Line) -> None:
    says(line, "stamped", "event", "run")
    await told(world, line)
    rows = world.rows()
    assert rows[1:] == [(STAMP, {"a": 2.5}), (STAMP + 1, {"a": 3.5})]
    qualities = [quality for batch in world.batches for quality in batch.qualities or []]
    assert qualities[-2] & 3 == Quality.UNCERTAIN
    assert all(quality & Flag.INSTRUMENT_TIME for quality in qualities[-2:])
    opened, shut = events(world)
    assert (opened.text, opened.fields, shut.time) == ("open", {"by": "hand"}, STAMP)
    assert abs(opened.time - time.time_ns() // 1000) < 60_000_000
    assert not opened.flags & Flag.INSTRUMENT_TIME
    assert shut.flags & Flag.INSTRUMENT_TIME
    (run,) = runs(world)
    assert (run.id, run.progress, run.start, run.end, run.own_time) == ("7", 0.5, STAMP, None, True)
    assert run.fields == {"cycle": 3}


async def test_vectors_are_kept_with_their_labels(world: World, line: Line) -> None:
    says(line, "vector")
    await told(world, line)
    (vector,) = vectors(world)
    (batch,) = [batch for batch in world.batches if batch.vectors]
    assert vector.values == [1.0, None, None]
    assert batch.labels[vector.labels] == ["A1", "A2", "A3"]
    assert batch.instruments[vector.instrument] == "i"


async def test_one_thing_of_no_use_costs_only_itself(
    world: World, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    says(line, "mixed", "reading")
    await told(world, line)
    assert [values for _, values in world.rows()][1:] == [
        {"a": 7.0, "c": None, "b": 8.0},
        {"a": 1.5, "b": None},
    ]
    assert [event.text for event in events(world)] == ["after"]
    assert not vectors(world)
    assert not runs(world)
    assert not world.gaps("not connected")
    assert len([record for record in caplog.records if "no reading's value" in record.getMessage()]) == 1


async def test_what_is_told_while_it_opens_is_kept_though_the_opening_fails(world: World, line: Line) -> None:
    world.tell(one(line, options={"gain": 0.0}))
    await until(lambda: world.tally.failures >= 3)
    await world.stop()
    assert [values["a"] for _, values in world.rows() if values["a"]][:3] == [1.0, 2.0, 3.0]
    (gap,) = {(gap.start, gap.reason) for gap in world.gaps("not connected")}
    assert gap[1] == "not connected"
    assert world.tally.connects == 0


async def test_what_is_told_after_the_end_is_not(world: World, line: Line) -> None:
    world.tell(one(line))
    await until(lambda: world.tally.answered >= 1)
    (driver,) = Talker.all
    world.poller.book.stop(stop_of("i"))
    world.poller.changed("i")
    await until(lambda: line.open == 0)
    await asyncio.sleep(0)
    driver.tell([Reading("a", 99.0)])
    await world.stop()
    assert {values["a"] for _, values in world.rows()} == {1.0}
    assert [row.kind for batch in world.batches for row in batch.events] == ["bye"], "but its last words are"


def stop_of(instrument: str) -> Any:
    from devices.wire import Stop  # noqa: PLC0415

    return Stop("e", instrument, 99)


async def test_a_link_lost_between_polls_is_an_outage_and_over_by_itself(world: World, line: Line) -> None:
    line.answer = lambda request: "close" if line.connections == 1 else b"reading\n"
    world.tell(one(line))
    await until(lambda: world.tally.connects >= 2)
    answered = world.tally.answered
    await until(lambda: world.tally.answered >= answered + 2)
    await world.stop()
    assert {(gap.start, gap.count) for gap in world.gaps("not connected")}
    assert [values["a"] for _, values in world.rows()] == [1.0, None, 2.0, 1.5], "one bad one in between"
    assert world.tally.connected == 0


async def test_memory_lives_across_sessions_and_ends_with_the_order(world: World, line: Line) -> None:
    line.answer = lambda request: "close" if line.connections <= 2 else None
    world.tell(one(line))
    await until(lambda: line.connections == 3)
    await until(lambda: len(Talker.all) == 3)
    assert Talker.all[-1].memory["sessions"] == 3
    world.tell(one(line, options={"gain": 2.0}, revision=2), revision=2)
    await until(lambda: len(Talker.all) == 4)
    assert Talker.all[-1].memory["sessions"] == 1


async def test_a_driver_is_given_its_secrets_and_nobody_else(
    world: World, line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    named = {"word": {"secret": "TALK"}}
    world.tell(one(line, options=named), one(line, instrument="j"))
    await until(lambda: world.tally.failures >= 1 and Talker.all)
    assert "LABSITE_SECRET_TALK_HOSTS" in caplog.text
    monkeypatch.setenv("LABSITE_SECRET_TALK_HOSTS", "127.0.0.1")
    monkeypatch.setenv("LABSITE_SECRET_TALK", "hunter2")
    world.tell(
        one(line, options=named, revision=2, interval=0.2), one(line, instrument="j", revision=2), revision=2
    )
    asked = len(Talker.all)
    await until(lambda: world.tally.answered >= 10)
    assert len(Talker.all) == asked, "a wrong configuration is not tried again until it is edited"
    world.tell(one(line, options={**named, "gain": 2.0}, revision=3), revision=3)
    await until(lambda: len(Talker.all) == asked + 1)
    assert Talker.all[-1].secrets == {"word": "hunter2"}
    assert Talker.all[0].secrets == {}
    assert "hunter2" not in caplog.text


async def test_a_mistake_in_telling_the_channels_does_not_end_the_lane(
    world: World, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def channels_for(options: Any) -> Any:
        return options["gain"] and options["nothing of the kind"]

    monkeypatch.setattr(Talker, "channels_for", staticmethod(channels_for))
    line.answer = lambda request: "close" if line.connections <= 2 else None
    world.tell(one(line))
    await until(lambda: line.connections >= 3)
    answered = world.tally.answered
    await until(lambda: world.tally.answered >= answered + 3)


async def test_the_channels_of_bad_readings_are_those_with_all_options(
    world: World, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    def channels_for(options: Any) -> Any:
        return (Channel(f"gain {options['gain']}", "x"),)

    monkeypatch.setattr(Talker, "channels_for", staticmethod(channels_for))
    line.stop()
    world.tell(one(line))
    await until(lambda: world.tally.failures >= 1)
    await world.stop()
    assert [values for _, values in world.rows()] == [{"gain 1.0": None}]
