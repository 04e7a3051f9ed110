"""The QuantStudio driver against its simulator, on the real wire; the test turns the machine's clock."""

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devices import links
from devices.drivers import quantstudio, quantstudio_recall, quantstudio_wire
from devices.drivers.quantstudio import QuantStudio
from devices.drivers.quantstudio_log import stamped
from devices.errors import ConfigurationError, InUse, LinkError
from devices.readings import Event, Quality, Reading, Run, Said, Vector
from devices.simulators import quantstudio_commands
from devices.simulators.doors import AnyDoor
from devices.simulators.quantstudio import QuantStudio as Simulated, _values
from devices.simulators.quantstudio_course import FILTERS, wells
from devices.simulators.tls import fingerprint
from tests.devices.simulators.served import Clock, behind_a_door

SHORT = {"pace": "8", "cycles": "3", "delay": "1", "runs": "once"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries again sooner than it would."""
    monkeypatch.setattr(quantstudio_recall, "PAUSE", 0.05)


class Edge:
    """What an edge keeps of one machine from one session to the next."""

    def __init__(self, **options: Any) -> None:
        self.options = {"ask_every": 0.5, "verify": False, **options}
        self.memory: dict[str, Any] = {}
        self.said: list[Said] = []

    @asynccontextmanager
    async def session(
        self, door: AnyDoor, settled: bool = True, **secrets: str
    ) -> AsyncIterator[QuantStudio]:
        settings = QuantStudio.link_settings(QuantStudio.checked_options(self.options))
        link = await links.connect(links.check(door.address), 5.0, settings)
        driver = QuantStudio(link, self.options)
        driver.secrets, driver.memory, driver.tell = secrets, self.memory, self.said.extend
        try:
            await driver.open()
            if settled:
                await until(lambda: driver._recall is not None and not driver._recall._is_behind)
            yield driver
            await driver.close()
        finally:
            await link.close()

    def readings(self, key: str = "") -> list[Reading]:
        return [each for each in self.said if isinstance(each, Reading) and each.key.startswith(key)]

    def events(self, kind: str) -> list[Event]:
        return [each for each in self.said if isinstance(each, Event) and each.kind == kind]

    def runs(self) -> list[Run]:
        return [each for each in self.said if isinstance(each, Run)]

    def kept(self) -> dict[tuple[str, int | None], set[Any]]:
        """As the centre stores it: by channel and time."""
        found: dict[tuple[str, int | None], set[Any]] = defaultdict(set)
        for each in self.readings():
            found[each.key, each.time].add(each.value)
        return found


@asynccontextmanager
async def machine(*faults: str, **settings: str) -> AsyncIterator[tuple[AnyDoor, Simulated, Clock]]:
    clock = Clock()
    async with behind_a_door(Simulated, *faults, clock=clock, settings={**SHORT, **settings}) as door:
        assert isinstance(door.simulator, Simulated)
        yield door, door.simulator, clock


async def turn(simulated: Simulated, clock: Clock, seconds: float) -> None:
    """Let this much of the machine's time pass, in steps that its clients hear of."""
    for _ in range(math.ceil(seconds / 2)):
        clock.now += min(2.0, seconds)
        simulated.pump()
        await asyncio.sleep(0)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110 - what is awaited is on the other side of a wire
            await asyncio.sleep(0.005)


async def whole_run(simulated: Simulated, clock: Clock) -> None:
    """From before its start until after its end."""
    await turn(simulated, clock, 2)
    assert simulated.machine.course is not None
    await turn(simulated, clock, simulated.machine.course.end - simulated.now() + 2)


def points(simulated: Simulated) -> int:
    return sum(len(folder.course.points) for folder in simulated.machine.folders.values())


def logged(simulated: Simulated) -> dict[tuple[str, int | None], Any]:
    """What the machine's own logs of its runs say, by channel and time; read apart from the driver."""
    found = {}
    for folder in simulated.machine.folders.values():
        for line in folder.log:
            topic, _, rest = line.partition(" ")
            time, text = stamped(rest)
            found.update({(key, time): value for key, value in _values(topic, text).items()})
    return found


# ---- reading


async def test_a_poll_has_all_that_is_asked() -> None:
    async with machine(runs="none") as (door, _, _), Edge().session(door) as driver:
        readings = {reading.key: reading for reading in await driver.read()}
    assert not [reading for reading in readings.values() if reading.quality is Quality.BAD]
    assert readings["state"].value == "Idle"
    assert readings["drawer"].value == "Closed"
    assert readings["cover.position"].value == "Down"
    assert readings["target.cover"].value == 105.0
    assert readings["control.6"].value is False
    assert readings["power"].value is True
    assert readings["light.color"].value == "BLUE"
    assert readings["machine.product"].value == "QuantStudio3_5"
    assert readings["machine.name"].value == "simulated-qpcr1"
    assert readings["block.description"].value == "96 wells perform"
    assert readings["block.degrees_climbed"].value == 130_159.0
    assert readings["asked.sample.6"].value == pytest.approx(25, abs=0.5)


async def test_it_is_asked_no_more_often_than_it_should() -> None:
    async with machine(runs="none") as (door, _, _), Edge(ask_every=60.0).session(door) as driver:
        assert len(await driver.read()) > 40
        assert await driver.read() == []


async def test_in_a_run_every_declared_channel_is_delivered() -> None:
    edge = Edge(filters="x1-m1 x2-m2 x4-m4", ask_every=0.5)
    async with machine(pace="4") as (door, simulated, clock), edge.session(door) as driver:
        polled = await driver.read()
        await turn(simulated, clock, 110)
        driver._ask_at = 0.0
        polled += await driver.read()
        await whole_run(simulated, clock)
        await until(lambda: len(edge.events("filterdata")) == 3 * points(simulated))
        driver._ask_at = 0.0
        polled += await driver.read()
    found = {reading.key for reading in [*polled, *edge.readings()]}
    assert {channel.key for channel in QuantStudio.channels_for(edge.options)} - found == set()
    assert found - {channel.key for channel in QuantStudio.channels_for(edge.options)} == set()
    assert not [reading for reading in [*polled, *edge.readings()] if reading.quality is Quality.BAD]


async def test_a_run_knows_its_protocol_and_sample_volume() -> None:
    edge = Edge()
    async with machine() as (door, simulated, clock), edge.session(door) as driver:
        await turn(simulated, clock, 12)
        readings = {reading.key: reading.value for reading in await driver.read()}
        await turn(simulated, clock, 8)
    assert (readings["progress.protocol"], readings["progress.volume"]) == ("qpcr", 50.0)
    assert edge.runs()[-1].fields.items() >= {"protocol": "qpcr", "volume": 50.0, "mode": "standard"}.items()


async def test_a_run_is_told_with_all_its_lines_and_its_fluorescence() -> None:
    edge = Edge()
    async with machine() as (door, simulated, clock), edge.session(door):
        await whole_run(simulated, clock)
        await until(lambda: len(edge.events("filterdata")) == 3 * points(simulated))
        (folder,) = simulated.machine.folders.values()
    last = edge.runs()[-1]
    assert (last.state, last.title, last.progress) == ("completed", folder.course.name, 1.0)
    assert last.start == pytest.approx((folder.course.start + 1.5) * 1e6, abs=1e3)
    assert last.end == pytest.approx(folder.course.end * 1e6, abs=1e3)
    assert len({run.id for run in edge.runs()}) == 1
    actions = [line.split(" ", 2)[2] for line in folder.log if line.startswith("Run ")]
    assert [event.text for event in edge.events("run_action")] == actions
    for point in folder.course.points:
        for excitation, emission in FILTERS:
            at = round(point.taken * 1e6)
            (value,) = edge.kept()[f"fluorescence.x{excitation}-m{emission}", at]
            assert isinstance(value, Vector)
            assert value.values == tuple(wells(folder.course, point, excitation))
            assert value.labels[0] == "A1"
    (plate,) = edge.events("platesetup")
    assert plate.fields["samples"]["A12"] == "NTC"


async def test_curves_rise_where_there_is_something_to_amplify() -> None:
    edge = Edge()
    async with machine(cycles="40", pace="1000") as (door, simulated, clock), edge.session(door):
        await whole_run(simulated, clock)
        await until(lambda: len(edge.events("filterdata")) == 3 * points(simulated))
    curves = [each.value for each in edge.readings("fluorescence.x1-m1")]
    assert len(curves) == 40
    first, last = curves[0], curves[-1]
    assert isinstance(first, Vector)
    assert isinstance(last, Vector)
    assert last.values[0] > 5 * first.values[0]  # type: ignore[operator]
    assert last.values[11] == pytest.approx(first.values[11], rel=0.1)


# ---- coming back


@pytest.mark.parametrize(("seconds", "stage"), [(0, None), (12, "PRERUN"), (30, "1")])
async def test_after_a_lost_link_no_channel_stays_bad(seconds: float, stage: str | None) -> None:
    edge = Edge()
    async with machine(delay="2") as (door, simulated, clock):
        async with edge.session(door) as driver:
            await turn(simulated, clock, seconds)
            await driver.read()
        edge.said.clear()
        async with edge.session(door) as driver:
            readings = await driver.read()
            place = simulated.machine.place
            where = (stage, place.cycle or None, place.step or None)
            await turn(simulated, clock, 2)
            await until(lambda: {"sample.1", "led.current", "heatsink"} <= {r.key for r in edge.readings()})
    found = {reading.key: reading for reading in [*edge.readings(), *readings]}
    declared = {c.key for c in QuantStudio.channels_for(edge.options) if c.kind != "vector"}
    assert declared - found.keys() <= {"clock.offset"}
    assert not [reading for reading in found.values() if reading.quality is Quality.BAD]
    assert tuple(found[f"run.{name}"].value for name in ("stage_name", "cycle", "step")) == where
    assert found["run.stage"].value == (1 if stage == "1" else None)


async def test_that_there_is_none_is_told_once_and_again_after_a_missing_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantstudio, "REPLY_WITHIN", 0.1)
    told = []
    async with machine(runs="none") as (door, simulated, _), Edge().session(door) as driver:

        async def polled() -> Quality | None:
            driver._ask_at = 0.0
            found = {reading.key: reading.quality for reading in await driver.read()}
            return found.get("progress.cycle")

        told += [await polled(), await polled()]
        (session,) = simulated.sessions
        with monkeypatch.context() as deaf:
            deaf.setattr(session, "_answer", lambda line: session._send("MESSage Info 1 alive"))
            told.append(await polled())
        told.append(await polled())
    assert told == [Quality.UNCERTAIN, None, Quality.BAD, Quality.UNCERTAIN]


async def test_a_lost_link_loses_nothing_of_a_run_and_doubles_nothing() -> None:
    edge = Edge()
    async with machine() as (door, simulated, clock):
        async with edge.session(door):
            await turn(simulated, clock, 12)
        await turn(simulated, clock, 9)
        async with edge.session(door):
            await turn(simulated, clock, 8)
        await turn(simulated, clock, 3)
        async with edge.session(door):
            await whole_run(simulated, clock)
            await until(lambda: len(edge.events("filterdata")) == 3 * points(simulated))
        truth = logged(simulated)
    kept = edge.kept()
    assert {key for key in truth if key not in kept} == set()
    assert {key: values for key, values in kept.items() if len(values) > 1} == {}
    assert {key: kept[key] for key in truth if kept[key] != {truth[key]}} == {}
    assert {run.id for run in edge.runs()} == {edge.runs()[0].id}
    assert edge.runs()[-1].state == "completed"


async def test_a_restarted_edge_finds_the_run_under_way_and_all_of_it() -> None:
    before, after = Edge(), Edge(fill_hours=0.0)
    async with machine() as (door, simulated, clock):
        async with before.session(door):
            await turn(simulated, clock, 12)
        await turn(simulated, clock, 9)
        async with after.session(door):
            await whole_run(simulated, clock)
            await until(lambda: len(after.events("filterdata")) == 3 * points(simulated))
        truth = logged(simulated)
    assert {key for key in truth if key not in after.kept()} == set()
    assert {run.id for run in after.runs()} == {run.id for run in before.runs()}
    assert {repr(each) for each in before.events("run_action")} <= {
        repr(each) for each in after.events("run_action")
    }


async def test_a_run_that_ended_while_nobody_listened_is_read_from_its_log() -> None:
    edge = Edge()
    async with machine() as (door, simulated, clock):
        async with edge.session(door):
            await turn(simulated, clock, 10)
        assert edge.runs()[-1].state == "running"
        await whole_run(simulated, clock)
        await turn(simulated, clock, 100)
        async with edge.session(door):
            await until(lambda: len(edge.events("filterdata")) == 3 * points(simulated))
            truth = logged(simulated)
    assert edge.runs()[-1].state == "completed"
    assert {key for key in truth if key not in edge.kept()} == set()


async def test_an_edge_that_starts_after_a_run_reads_it_if_it_is_not_too_long_ago() -> None:
    recent, late = Edge(fill_hours=1.0), Edge(fill_hours=0.01)
    async with machine() as (door, simulated, clock):
        await whole_run(simulated, clock)
        async with recent.session(door):
            await until(lambda: bool(recent.runs()) and recent.runs()[-1].state == "completed")
        simulated._wall -= 3_600
        for folder in simulated.machine.folders.values():
            folder.course.end -= 3_600
        async with late.session(door) as driver:
            await until(lambda: driver._recall is not None and not driver._recall._is_behind)
    assert late.runs() == []


async def test_a_run_whose_log_cannot_be_read_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Simulated, "lacks", lambda self, path: path.endswith("messages.log"))
    edge = Edge()
    async with machine() as (door, simulated, clock):
        await turn(simulated, clock, 10)
        async with edge.session(door):
            await until(lambda: bool(edge.runs()))
            await whole_run(simulated, clock)
            await until(lambda: len(edge.events("filterdata")) >= 3)
    assert edge.runs()[0].title == simulated.machine.folders.popitem()[0]
    assert edge.runs()[0].start is not None
    assert edge.runs()[-1].state == "completed"


async def test_without_its_own_time_nothing_is_stamped_or_read_again() -> None:
    edge = Edge(own_time=False)
    async with machine() as (door, simulated, clock):
        await turn(simulated, clock, 10)
        async with edge.session(door):
            await whole_run(simulated, clock)
            await until(lambda: bool(edge.runs()) and edge.runs()[-1].state == "completed")
    assert {each.time for each in edge.readings("sample")} == {None}


# ---- access


async def test_a_password_opens_what_it_is_for() -> None:
    async with machine(password="correctpassword") as (door, _, _):
        edge = Edge(password={"secret": "QPCR"})
        async with edge.session(door, password="correctpassword") as driver:
            assert {r.key: r.value for r in await driver.read()}["state"] in {"Idle", "Running"}


@pytest.mark.parametrize(
    ("options", "secrets", "words"),
    [
        ({"password": {"secret": "QPCR"}}, {"password": "wrongpassword"}, "refused the password"),
        ({}, {}, "does not give access level Observer"),
        ({"password": {"secret": "QPCR"}, "access": "Full"}, {"password": "correctpassword"}, "level Full"),
    ],
)
async def test_access_that_is_not_given_is_a_matter_for_people(
    options: dict[str, Any], secrets: dict[str, str], words: str
) -> None:
    async with machine(password="correctpassword") as (door, _, _):
        with pytest.raises(ConfigurationError, match=words) as raised:
            async with Edge(**options).session(door, True, **secrets):
                pass
        assert "correctpassword" not in str(raised.value)


async def test_access_that_somebody_else_holds_is_tried_again() -> None:
    async with machine("denied") as (door, _, _):
        with pytest.raises(InUse, match=r"somebody else has access to himself.*ExclusiveAccessGiven"):
            async with Edge().session(door):
                pass


@pytest.mark.parametrize("tls", ["new", "old"])
async def test_tls_with_the_machines_own_certificate_pinned(tls: str) -> None:
    edge = Edge(pin=fingerprint(), old_protocols=tls == "old")
    async with machine(wire="tls", tls=tls) as (door, simulated, clock):
        assert door.address.startswith("tls://")
        async with edge.session(door) as driver:
            assert len(await driver.read()) > 40
            await turn(simulated, clock, 3)
            await until(lambda: bool(edge.readings("sample")))


# ---- trouble


async def test_no_trace_is_left_behind() -> None:
    before = asyncio.all_tasks()
    async with machine() as (door, simulated, clock):
        async with Edge().session(door):
            await turn(simulated, clock, 5)
            assert len(simulated.sessions) == 1
        await until(lambda: not simulated.sessions)
        assert simulated.machine.listeners == []
    await until(lambda: asyncio.all_tasks() == before)


async def test_what_it_does_not_know_is_bad_and_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(quantstudio_commands.COMMANDS, "lst?")
    async with machine(runs="none") as (door, _, _), Edge().session(door) as driver:
        for _ in range(2):
            driver._ask_at = 0.0
            readings = {reading.key: reading for reading in await driver.read()}
            assert readings["state"].value == "Idle"
            assert readings["asked.cover"].quality is Quality.GOOD
            assert "lamp" not in readings or readings["lamp"].quality is Quality.BAD
        assert len(driver._refused) == 1


async def test_a_machine_without_ret_is_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ret", "return"):
        monkeypatch.delitem(quantstudio_commands.COMMANDS, name)
    async with machine(runs="none") as (door, _, _), Edge().session(door) as driver:
        for _ in range(2):
            driver._ask_at = 0.0
            readings = {reading.key: reading for reading in await driver.read()}
            assert readings["state"].value == "Idle"
            assert readings["target.1"].value == 25.0


async def test_replies_that_do_not_come_are_bad_and_what_it_logs_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantstudio, "REPLY_WITHIN", 0.2)
    edge = Edge()
    async with machine() as (door, simulated, clock), edge.session(door) as driver:
        await driver.read()
        for session in simulated.sessions:
            monkeypatch.setattr(session, "_answer", lambda line: None)
        driver._ask_at = 0.0
        poll = asyncio.create_task(driver.read())
        await asyncio.sleep(0)
        await turn(simulated, clock, 4)
        readings = {reading.key: reading.quality for reading in await poll}
        assert readings["state"] is readings["target.1"] is Quality.BAD
        assert edge.readings("sample")[-1].quality is Quality.GOOD
        driver._ask_at = 0.0
        with pytest.raises(LinkError, match="no reply"):
            await driver.read()


async def test_a_silent_log_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Edge()
    async with machine() as (door, simulated, clock), edge.session(door) as driver:
        await driver.read()
        monkeypatch.setattr(quantstudio, "SILENCE_MAX", 0.05)
        (session,) = simulated.sessions
        session.commands.topics.clear()
        await asyncio.sleep(0.1)
        bad = [reading.key for reading in await driver.read() if reading.quality is Quality.BAD]
        assert {"sample.1", "block.6", "cover", "led.current"} <= set(bad)
        count = len(edge.said)
        await turn(simulated, clock, 3)
        await until(lambda: len(edge.said) > count)


@pytest.mark.parametrize(
    "fault",
    ["unclosed", "nesting", "stray", "warning", "next", "unstamped", "nofile", "zone:channel=2", "split",
     "merge", "slow:delay=0.05", "garbage:p=0.2,from=1", "clock:delay=86400"],
)  # fmt: skip
async def test_it_reads_on_through_faults(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantstudio, "REPLY_WITHIN", 0.5)
    edge = Edge()
    async with machine(fault) as (door, simulated, clock), edge.session(door, settled=False) as driver:
        for _ in range(3):
            driver._ask_at = 0.0
            await driver.read()
            await turn(simulated, clock, 3)
        await asyncio.sleep(0.15)
        truth = logged(simulated)
    if fault != "unclosed":  # then it takes half a minute
        assert edge.readings("sample.1")
    if fault in {"unstamped", "zone:channel=2"}:
        return
    wrong = {key: values for key, values in edge.kept().items() if key in truth and values != {truth[key]}}
    assert wrong == {}


async def test_a_line_that_waited_within_a_tag_is_told_as_of_when_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantstudio_wire, "TAG_OPEN_MAX", 0.3)
    edge, ages = Edge(), list[float]()
    async with machine("unclosed", "unstamped") as (door, simulated, clock), edge.session(door) as driver:
        driver.tell = lambda said: ages.append(driver.heard_ago)
        await turn(simulated, clock, 4)
        await asyncio.sleep(0.35)
        await turn(simulated, clock, 2)
        await until(lambda: bool(ages))
        assert ages[0] == pytest.approx(0.35, abs=0.2)
        assert driver.heard_ago == 0.0


async def test_a_line_without_an_end_ends_the_session() -> None:
    async with machine("endless:from=2") as (door, simulated, clock), Edge().session(door) as driver:
        conversation = driver._conversation
        assert conversation is not None
        await turn(simulated, clock, 10)
        await until(lambda: conversation.lost is not None)
        with pytest.raises(LinkError, match="without an end"):
            await driver.read()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pin": "abc"}, "64 hexadecimal digits"),
        ({"topics": "Info\nQUIT"}, "option topics"),
        ({"filters": "x1-m1;"}, "option filters"),
        ({"access": "Guest"}, "none of Observer"),
        ({"zones": 0}, "below 1"),
        ({"ask_every": 0.1}, "below 0.5"),
        ({"password": "plain"}, "is a secret"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        QuantStudio.checked_options(options)


def test_channels_follow_the_block_and_its_filters() -> None:
    keys = [channel.key for channel in QuantStudio.channels_for({"zones": 1, "filters": "x1-m4 X1-M4"})]
    assert "sample.1" in keys
    assert "sample.2" not in keys
    assert [key for key in keys if key.startswith("fluorescence")] == ["fluorescence.x1-m4"]
    assert keys[0] == "state"
