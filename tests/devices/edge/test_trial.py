"""Single polls at the edge, over real TCP: in the lane's turn, recording nothing, taking nothing away."""

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from devices import drivers
from devices.drivers.base import Channel, Driver, Option, Secret
from devices.edge import session as session_module, trial as trial_module
from devices.edge.clock import SECOND
from devices.errors import ConfigurationError, ReplyError
from devices.links.stream import StreamLink
from devices.readings import Event, Quality, Reading, Run, Vector
from devices.wire import Once, Order, Tried, seal
from tests.devices.edge.doubles import order
from tests.devices.edge.world import Line, World, until


class Asked(Driver):
    """Says what the one line that it asks for tells it to."""

    label = "Asked"
    schemes = ("tcp",)
    example = "tcp://127.0.0.1:1"
    options = (Option("word", Secret, "", "A password"), Option("gain", float, 1.0, "A factor"))
    channels = (Channel("a", "a"), Channel("b", "b"))
    link: StreamLink
    opened = 0

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.last = ""

    async def open(self) -> None:
        Asked.opened += 1

    async def read(self) -> list[Reading]:
        answer = (await self.link.ask(b"?\n")).decode()
        if answer == self.last:
            return []  # as drivers do that were asked faster than the instrument measures
        self.last = answer
        if answer == "garbage":
            raise ReplyError("an answer of garbage")
        if answer == "bug":
            raise KeyError("bug")
        if answer == "secret":
            return [Reading("a", float(len(self.secrets["word"])))]
        if answer == "all":
            self.tell([Event("door", "opened"), Run("7", "qpcr", "running", "plate 7", 0.25)])
            return [
                Reading("a", Vector((1.0, float("nan"), *[2.0] * 200))),
                Reading("b", float("inf"), Quality.BAD, 5),
                Reading("c", 10**400),
                Reading("d", "x\0\ud800" + "y" * 9999),
                Reading("e", True),
                Reading("f", 7),
                Reading("g", None, Quality.UNCERTAIN),
                Reading("h", object()),  # type: ignore[arg-type]
            ]
        return [Reading("a", float(answer) * self.settings["gain"]), Reading("b", 1)]


class Spoken(Driver):
    """Speaks by itself: each line is a value of a."""

    label = "Spoken"
    schemes = ("tcp",)
    example = "tcp://127.0.0.1:1"
    channels = (Channel("a", "a"),)
    link: StreamLink

    async def open(self) -> None:
        self.link.listen(lambda chunk: self.tell([Reading("a", float(chunk))]), lambda error: None)
        self.link.write(b"go\n")

    async def read(self) -> list[Reading]:
        return []


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(drivers.OWN, "asked", f"{__name__}:Asked")
    monkeypatch.setitem(drivers.OWN, "spoken", f"{__name__}:Spoken")
    monkeypatch.setattr(session_module, "RETRY_MIN", 60.0)
    drivers.load.cache_clear()
    Asked.opened = 0
    yield
    drivers.load.cache_clear()


def one(line: Line, instrument: str = "i", **fields: Any) -> Order:
    return order(**{"instrument": instrument, "address": line.address, "driver": "asked", **fields})


def once(age: float = 0.0) -> Once:
    return Once(str(uuid.uuid4()), time.time_ns() // 1000 - int(age * SECOND))


async def tried(world: World, order: Order, which: Once | None = None) -> Tried:
    answer: asyncio.Future[Tried] = asyncio.get_running_loop().create_future()
    world.poller.try_once(order, which or once(), answer.set_result)
    async with asyncio.timeout(15):
        tested = await answer
    seal(tested, "bench", 1, b"key")  # it can be sent
    return tested


def values(tested: Tried) -> dict[str, Any]:
    return {reading.key: reading.value for reading in tested.readings}


async def test_an_instrument_that_is_not_polled_is_opened_read_and_closed(world: World, line: Line) -> None:
    tested = await tried(world, one(line))
    assert (tested.error, values(tested), tested.shared) == ("", {"a": 21.5, "b": 1}, False)
    assert tested.connect is not None
    assert tested.read is not None
    assert 0 < tested.connect + tested.read < 5
    await until(lambda: line.open == 0)
    await world.stop()
    assert not world.batches
    assert not world.poller._lanes, "a lane that nobody uses is taken down"


async def test_what_is_polled_is_tried_over_the_same_link_and_loses_nothing(world: World, line: Line) -> None:
    counted = iter(range(10**6))
    sent: list[float] = []

    def answer(request: bytes) -> bytes:
        sent.append(float(next(counted)))
        return b"%g\n" % sent[-1]

    line.answer = answer
    world.tell(one(line))
    await until(lambda: line.requests >= 2)
    found = [await tried(world, one(line)) for _ in range(3)]
    await until(lambda: line.requests >= 8)
    await world.stop()
    assert all(each.shared and not each.error for each in found)
    mine = [values(each)["a"] for each in found]
    stored = [row["a"] for _, row in world.rows()]
    assert line.connections == 1
    assert sorted([*mine, *stored]) == sent, "each answer went to the one who asked, and only there"
    assert not world.gaps("not connected")


async def test_unsaved_options_are_tried_over_the_open_link(world: World, line: Line) -> None:
    world.tell(one(line))
    await until(lambda: line.requests >= 1)
    tested = await tried(world, one(line, options={"gain": 2.0}))
    assert (values(tested)["a"], tested.shared, line.connections) == (43.0, True, 1)


async def test_a_streaming_instrument_is_tried_beside_its_own_stream(world: World, line: Line) -> None:
    line.answer = lambda request: b"4.5\n"
    world.tell(one(line, driver="spoken"))
    await until(lambda: line.requests >= 1)
    tested = await tried(world, one(line, driver="spoken"))
    assert (values(tested), tested.shared, line.connections) == ({"a": 4.5}, False, 2)
    assert world.tally.connected == 1
    await world.stop()
    assert [row for _, row in world.rows()] == [{"a": 4.5}]


async def test_it_waits_for_its_turn_and_others_wait_for_it(world: World, line: Line) -> None:
    line.delay = 0.05
    world.tell(one(line, "i"), one(line, "j"))
    await until(lambda: line.requests >= 2)
    tested = await tried(world, one(line, "k"))
    assert not tested.error
    assert line.most_under_way == 1


async def test_a_turn_that_does_not_come_is_told(
    world: World, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "TURN_WITHIN", 0.05)
    line.delay = 0.5
    world.tell(one(line))
    await until(lambda: line.requests >= 1)
    assert "turn on the link did not come" in (await tried(world, one(line))).error
    line.delay = 0.0
    monkeypatch.setattr(trial_module, "TURN_WITHIN", 4.0)
    assert not (await tried(world, one(line))).error


@pytest.mark.parametrize(
    ("answer", "fields", "said"),
    [
        (b"garbage\n", {}, "an answer of garbage"),
        (b"bug\n", {}, "a mistake in the driver, while reading it: KeyError: 'bug'"),
        ("close", {}, "closed by the other side"),
        (None, {}, "no answer within 0.3 s"),
        (b"1\n", {"address": "tcp://127.0.0.1:1"}, "tcp://127.0.0.1:1: connection refused"),
        (b"1\n", {"address": "nowhere"}, "is no URL"),
        (b"1\n", {"driver": "samovar"}, "no driver 'samovar'"),
        (b"1\n", {"options": {"colour": 1}}, "has no option colour"),
        (b"1\n", {"options": {"word": {"secret": "NOT_THERE"}}}, "LABSITE_SECRET_NOT_THERE_HOSTS"),
    ],
    ids=["garbage", "bug", "close", "silent", "refused", "address", "driver", "option", "secret"],
)
async def test_what_went_wrong_is_told_in_words(
    world: World,
    line: Line,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    fields: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setattr(trial_module, "DEADLINE", 0.3)
    line.answer = lambda request: answer
    tested = await tried(world, one(line, **fields))
    assert said in tested.error
    assert not tested.readings
    await until(lambda: line.open == 0)
    await world.stop()
    assert not world.batches


async def test_whatever_a_driver_says_can_be_sent_and_stored(world: World, line: Line) -> None:
    line.answer = lambda request: b"all\n"
    tested = await tried(world, one(line))
    found = values(tested)
    assert found["a"][:3] == [1.0, None, 2.0]
    assert len(found["a"]) == 100
    assert tested.readings[0].length == 202
    assert (tested.readings[1].quality, tested.readings[1].time) == (2, 5)
    assert [found[key] for key in "bcegh"] == [None, None, True, None, None]
    assert found["d"] == "x��" + "y" * 397
    assert found["f"] == 7
    assert tested.told == ["event door: opened", "run plate 7 (qpcr): running, 25%"]
    json.dumps(found, allow_nan=False)


async def test_a_secret_is_found_as_for_a_poll(
    world: World, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABSITE_SECRET_BATH", "pass")
    monkeypatch.setenv("LABSITE_SECRET_BATH_HOSTS", "127.0.0.1")
    line.answer = lambda request: b"secret\n"
    tested = await tried(world, one(line, options={"word": {"secret": "BATH"}}))
    assert values(tested) == {"a": 4.0}


async def test_one_that_comes_twice_late_or_elsewhere_is_not_begun(world: World, line: Line) -> None:
    answers: list[Tried] = []
    which = once()
    assert not (await tried(world, one(line), which)).error
    world.poller.try_once(one(line), which, answers.append)
    world.poller.compare_clock(*[0, now_centre(), now_centre(), 1000])
    world.poller.try_once(one(line), once(age=60), answers.append)
    world.poller.hold(False)
    world.poller.try_once(one(line), once(), answers.append)
    world.poller.hold(True)
    assert not (await tried(world, one(line))).error
    assert (line.connections, answers) == (2, [])


def now_centre() -> int:
    """The centre's clock when this boot began, so that the edge's clock is right and sure of it."""
    return (time.time_ns() - time.monotonic_ns()) // 1000


async def test_a_session_in_an_outage_tries_again_once_a_trial_has_succeeded(
    world: World, line: Line
) -> None:
    line.stop()
    world.tell(one(line))
    await until(lambda: world.tally.failures >= 1)
    assert "refused" in (await tried(world, one(line))).error
    await line.start()
    assert not (await tried(world, one(line))).error
    await until(lambda: world.tally.answered >= 2)


async def test_stopping_breaks_a_trial_off(world: World, line: Line) -> None:
    line.answer = lambda request: None
    answers: list[Tried] = []
    world.poller.try_once(one(line), once(), answers.append)
    await until(lambda: line.requests == 1)
    async with asyncio.timeout(1.5):
        await world.stop()
    assert not answers
    await until(lambda: line.open == 0)


async def test_a_configuration_that_cannot_be_is_not_an_error_of_the_lane(world: World, line: Line) -> None:
    with pytest.raises(ConfigurationError):
        drivers.load("samovar")
    await tried(world, one(line, driver="samovar"))
    assert not (await tried(world, one(line))).error
