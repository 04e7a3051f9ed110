"""What every driver keeps to: by its declaration, with its simulator, through all faults and back."""

import asyncio
import json
import sys
import threading
import time
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from devices import drivers, simulators
from devices.conformance import Finding, __main__ as report, broken, declared, live
from devices.conformance.live import HELD_MAX
from devices.conformance.watch import Belongings, held
from devices.drivers import edge_host
from devices.drivers.base import Channel, Driver, Option, RuleTemplate
from devices.edge import session as session_module
from devices.errors import LinkError
from devices.links.stream import StreamLink
from devices.readings import Event, Quality, Reading, Run
from devices.simulators import faults
from labsite.onebox import ports
from tests.devices.edge.doubles import order
from tests.devices.edge.world import Line, World, until
from tests.servers import Process, dying_with_tests
from tests.waiting import until as until_so

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "docs" / "examples"
WITHOUT_SIMULATOR = {
    "edge_host": "reads its own process",
    "labsite_simulated": "is a simulator",
    "mqtt_in": "is tested with mosquitto",
    "push": "is never read",
}
SAYS_BY_ITSELF = ("scs",)  # its files are there whether or not somebody writes them
HELD_WITH_SLACK = 2 * HELD_MAX  # among other tests, on a machine that does other things

every_driver = pytest.mark.parametrize("name", drivers.names())
every_simulated = pytest.mark.parametrize("name", sorted(simulators.SIMULATORS))


def example_options(name: str) -> dict[str, Any]:
    """Those of the driver's lab in docs/examples, if there is one."""
    for path in EXAMPLES.glob(f"{name}.toml"):
        for instrument in tomllib.loads(path.read_text(encoding="utf-8")).get("instrument", []):
            if instrument["driver"] == name:
                options: dict[str, Any] = instrument.get("options", {})
                # A simulator asks for no password, and this test's edge has none.
                return {key: value for key, value in options.items() if not isinstance(value, dict)}
    return {}


class Simulated(Process):
    """`python -m devices.simulators DRIVER`, at the same addresses whenever it is started."""

    def __init__(self, name: str, folder: Path, count: int) -> None:
        self.name, self.count, self.folder = name, count, folder
        super().__init__([], folder / "simulator.log")
        scheme = simulators.load(name)(0, 0, {}, faults.Faults(), time.monotonic).scheme
        self.where = {
            "serial": str(folder / "port"),
            "file": str(folder / "files"),
        }.get(scheme, f"127.0.0.1:{ports.free(run=count)}")

    def begin(self, *specs: str) -> list[str]:
        """Start it with these faults; the addresses of its instruments."""
        self.log.unlink(missing_ok=True)
        words = ["--count", str(self.count), "--listen", self.where]
        words += [word for spec in specs for word in ("--fault", spec)]
        self.command = dying_with_tests([sys.executable, "-m", "devices.simulators", self.name, *words])
        self.start()
        until_so(lambda: len(self.announced()) == self.count, 20, f"it announces itself: {self.log}")
        return [line["address"] for line in self.announced()]

    def announced(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.splitlines() if line[:1] == "{"]


# ---- by its declaration


@every_driver
def test_a_driver_declares_what_it_should(name: str) -> None:
    found = declared.findings(name)
    assert broken(found) == []
    assert len(found) == 8
    assert "not checked" not in found[-1].note


@every_driver
def test_its_example_options_work(name: str) -> None:
    options = example_options(name)
    assert broken(declared.findings(name, options)) == []
    if options:
        assert drivers.load(name).channels_for(drivers.load(name).checked_options(options))


def test_every_driver_has_a_simulator_or_a_reason_to_have_none() -> None:
    own = set(drivers.OWN)
    assert own - simulators.SIMULATORS.keys() == own & WITHOUT_SIMULATOR.keys()


# ---- with its simulator


@every_simulated
async def test_it_reads_closes_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    with Simulated(name, tmp_path, 1) as simulator:
        (address,) = simulator.begin()
        found = await live.findings(name, address, example_options(name))
    assert without_slack(found) == []
    assert len(found) == 8


@pytest.mark.parametrize("name", ["edge_host", "labsite_simulated"])
async def test_so_does_what_has_no_wire(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_host, "source", lambda: {"cpu": 1.0})
    found = await live.findings(name, drivers.load(name).example, example_options(name))
    assert without_slack(found) == []


def without_slack(found: list[Finding]) -> list[str]:
    """What is broken, but for a loop held up so little that it may be the machine's doing."""
    return [
        line
        for line in broken(found)
        if not (line.startswith("does not hold up") and float(line.split()[8]) < HELD_WITH_SLACK * 1000)
    ]


@every_simulated
async def test_it_survives_each_fault_and_comes_back(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One instrument is well, each other has one of all faults; then all are switched off, and on again."""
    kinds = ["", *faults.KINDS, *simulators.load(name).faults_of_its_own]
    monkeypatch.setattr(session_module, "DEADLINE", 1.0)
    monkeypatch.setattr(session_module, "RETRY_MIN", 0.2)
    monkeypatch.setattr(session_module, "RETRY_MAX", 0.4)
    simulator = Simulated(name, tmp_path, len(kinds))
    with simulator:
        addresses = simulator.begin(*(f"{kind}:instrument={n}" for n, kind in enumerate(kinds) if kind))
        before = Belongings()
        (tmp_path / "spool").mkdir()
        world = World(tmp_path / "spool")
        counted = counting(world)
        options = example_options(name)
        orders = [
            order(kind or "well", address, 0.3, driver=name, options=options)
            for kind, address in zip(kinds, addresses, strict=True)
        ]
        world.tell(*orders)
        try:
            await until(lambda: counted["well"] >= 8, 15)
            simulator.kill()
            await until(lambda: name in SAYS_BY_ITSELF or not world.tally.connected, 15)
            counted.clear()
            simulator.begin()
            await until(lambda: counted.keys() >= {each.instrument for each in orders}, 20)
        finally:
            missing = {each.instrument for each in orders} - counted.keys()
            await world.stop()
    assert not missing
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [], "own mistakes"
    assert await before.left_behind() == []
    of_hung = [gap for gap in world.gaps("not connected") if gap.instrument == "hang"]
    assert of_hung or name in SAYS_BY_ITSELF


def counting(world: World) -> Counter[str]:
    """How often each instrument brought readings of which one is good."""
    counted: Counter[str] = Counter()
    add, see = world.recorder.add, world.recorder.see

    def counted_add(instrument: str, readings: Any, time: int) -> str:
        counted[instrument] += any(reading.quality != Quality.BAD for reading in readings)
        return add(instrument, readings, time)

    def counted_see(instrument: str, time: int) -> None:
        counted[instrument] += 1
        see(instrument, time)

    world.recorder.add, world.recorder.see = counted_add, counted_see  # type: ignore[method-assign]
    return counted


# ---- each rule finds who breaks it


class Guilty(Driver):
    """Does what a test has it do."""

    label = "Guilty"
    schemes = ("tcp",)
    example = "tcp://127.0.0.1:1"
    options = (Option("gain", float, 1.0, "A factor"),)
    channels = (Channel("a", "A", "Cel"), Channel("b", "B", kind="bool"))
    link: StreamLink
    crimes: Mapping[str, Any] = {}

    async def open(self) -> None:
        await self.commit("open")

    async def read(self) -> list[Reading]:
        await self.commit("before")
        await self.link.ask(b"?\n")
        said = await self.commit("read")
        return [Reading("a", 1.5), Reading("b", 0)] if said is None else said

    async def close(self) -> None:
        await self.commit("close")

    async def commit(self, when: str) -> Any:
        crime = self.crimes.get(when)
        done = crime(self) if crime else None
        return await done if asyncio.iscoroutine(done) else done


@pytest.fixture
def guilty(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setitem(drivers.OWN, "guilty", f"{__name__}:Guilty")
    drivers.load.cache_clear()
    yield monkeypatch
    drivers.load.cache_clear()


class Loose(Option):
    """Takes whatever comes."""

    def checked(self, value: object) -> Any:
        return "other"


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("label", " ", "says what it is: it has no label"),
        ("__doc__", None, "says what it is: it has no docstring"),
        ("schemes", (), "says what it is: it names no schemes"),
        ("example", "nowhere", "gives an example address: address 'nowhere' is no URL"),
        ("example", "edge://local", "gives an example address: edge://local is none of its schemes"),
        ("options", (Option("gain", int, 1, " "),), "option gain has no help"),
        ("options", (Option("gain", int, 1, "x"),) * 2, "option gain twice"),
        ("options", (Option("gain", int, 1, "x", low=2),), "explains its options: option gain: 1 is below 2"),
        ("options", (Loose("gain", str, "x", "x"),), "its default is not of its own kind"),
        ("checked_options", lambda options: options, "refuses options it does not have: it takes"),
        ("checked_options", lambda options: options["x"], "by KeyError"),
        ("channels", (Channel("a", "A"),) * 2, "declares its channels: channel a twice"),
        ("channels", (Channel("", "A"),), "declares its channels: key ''"),
        ("channels", (Channel("x" * 101, "A"),), "is not of 1 to 100"),
        ("channels", (Channel("a", " "),), "channel a: its label"),
        ("channels", (Channel("a", "A", kind="complex"),), "kind 'complex' is none of float"),
        ("channels", (Channel("a", "A", low=2, high=1),), "channel a: normal from 2 to 1"),
        ("channels", (Channel("a", "A", "degC"),), "has units in UCUM: unit 'degC' is no UCUM code"),
        ("channels", (Channel("a", "A", "m" * 31),), "has units in UCUM: unit 'mmm"),
        ("channels_for", lambda options: options["x"], "declares its channels: KeyError"),
        (
            "alarms",
            (RuleTemplate("Hot", "high", "Cool it.", key="b", high=1.0),),
            "channel b is of kind bool",
        ),
    ],
)
def test_a_rule_of_declarations_finds_who_breaks_it(
    guilty: pytest.MonkeyPatch, attribute: str, value: Any, said: str
) -> None:
    guilty.setattr(Guilty, attribute, staticmethod(value) if callable(value) else value)
    assert any(said in line for line in broken(declared.findings("guilty")))


def test_a_driver_that_does_not_load_is_told() -> None:
    assert "no driver 'samovar'" in broken(declared.findings("samovar"))[0]


UNITS = {"": True, "Cel": True, "L/min": True, "m/s2": True, "MiBy": True, "[pH]": True, "{count}": True,
         "10*-6": True, "W.h": True, "%": True,
         "degC": False, "°C": False, "rpm": False, "m^2": False}  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_read_by_the_grammar_of_ucum(unit: str) -> None:
    assert (declared.unit_fault(unit) == "") == UNITS[unit]


def busy(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def forget_a_task(driver: Guilty) -> None:
    LEFT.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))


def forget_a_thread(driver: Guilty) -> None:
    thread = threading.Thread(target=RELEASE.wait, name="left over", daemon=True)
    thread.start()
    LEFT.append(thread)


def forget_a_file(driver: Guilty) -> None:
    LEFT.append(Path("/dev/null").open("rb"))  # noqa: SIM115 - it is the crime


def speak_later(driver: Guilty) -> None:
    tell = driver.tell
    asyncio.get_running_loop().call_later(0.05, lambda: tell([Event("late", "too late")]))


async def cling(driver: Guilty) -> None:
    while not RELEASE.is_set():
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            LEFT.append("asked to stop")


LEFT: list[Any] = []
RELEASE = threading.Event()


@pytest.fixture(autouse=True)
async def cleaned_up() -> AsyncIterator[None]:
    LEFT.clear()
    RELEASE.clear()
    yield
    RELEASE.set()
    for left in LEFT:
        if isinstance(left, asyncio.Task):
            left.cancel()
        elif isinstance(left, threading.Thread):
            left.join()
        elif hasattr(left, "close"):
            left.close()


def lost(driver: Guilty) -> None:
    raise LinkError("away")


@pytest.mark.parametrize(
    ("when", "crime", "said"),
    [
        ("open", lost, "opens and reads: away"),
        (
            "read",
            lambda _: int("x"),
            "opens and reads: a mistake in the driver, while reading it: ValueError",
        ),
        ("open", forget_a_task, "leaves nothing behind: task"),
        ("open", forget_a_thread, "leaves nothing behind: thread left over"),
        ("close", forget_a_file, "leaves nothing behind: file /dev/null"),
        ("close", speak_later, "is silent once it is closed: it told"),
        ("read", lambda _: [Reading("a", "warm")], "says what can be stored: a: 'warm' is no float"),
        ("read", lambda _: [Reading("a", True)], "a: True is no float"),
        ("read", lambda _: [Reading("b", 2)], "b: 2 is no bool"),
        ("read", lambda _: [Reading("a", float("nan"))], "a: nan is no float"),
        ("read", lambda _: [Reading("a", None)], "a: good, but without a value"),
        ("read", lambda _: [Reading("a", 1.0, cast("Quality", 7))], "a: its quality is 7"),
        ("read", lambda _: [Reading("a", 1.0, time=5)], "time 5 is no µs of UTC"),
        ("read", lambda _: [1.5], "1.5 is no reading, event or run"),
        ("read", lambda driver: driver.tell([Run("1", "qpcr", "lost in space")]), "run state"),
        ("read", lambda driver: driver.tell([Event("a", "b", time=1)]), "time 1 is no µs"),
        ("read", lambda _: [], "says something of its channels: not one"),
        ("read", lambda _: busy(0.08), "does not hold up the event loop: for"),
        ("read", lambda _: time.sleep(0.08), "does not hold up the event loop: for"),
    ],
)
async def test_a_rule_of_conduct_finds_who_breaks_it(
    guilty: pytest.MonkeyPatch, line: Line, when: str, crime: Any, said: str
) -> None:
    guilty.setattr(Guilty, "crimes", {when: crime})
    guilty.setattr("devices.conformance.watch.GRACE", 0.1)
    found = await live.findings("guilty", line.address, {})
    assert any(said in each for each in broken(found)), broken(found)


async def test_who_keeps_the_rules_is_not_found_guilty(guilty: pytest.MonkeyPatch, line: Line) -> None:
    found = await live.findings("guilty", line.address, {})
    assert without_slack(found) == []
    assert [finding.note for finding in found if "channels" in finding.rule] == ["2 of 2 channels"]


async def test_who_does_not_let_go_is_found(guilty: pytest.MonkeyPatch, line: Line) -> None:
    assert not await live._broken_off("guilty", line.address, {}, 0.2, live.Listener(()))
    guilty.setattr(Guilty, "crimes", {"before": cling})
    assert "it goes on" in await live._broken_off("guilty", line.address, {}, 0.2, live.Listener(()))
    RELEASE.set()
    await asyncio.sleep(0)


async def test_a_busy_machine_makes_nobody_guilty() -> None:
    """Other processes take the CPU from the loop's thread; only what it does itself counts."""
    burners = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(4)
    ]
    try:
        with held() as watched:
            for _ in range(40):
                await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.005)
        assert watched.worst < HELD_MAX
    finally:
        for burner in burners:
            burner.kill()
            await burner.wait()


def test_the_report_tells_each_rule_and_ends_as_it_should(
    guilty: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["guilty"]) == 0
    out = capsys.readouterr().out
    assert "ok   says what it is: Guilty" in out
    assert "8 of 8 rules kept; without --address nothing was read" in out
    assert report.main(["guilty", "--address", "tcp://127.0.0.1:1"]) == 1
    out = capsys.readouterr().out
    assert "FAIL opens and reads: tcp://127.0.0.1:1: connection refused" in out
    assert "8 of 9 rules kept" in out
    assert report.main(["samovar"]) == 2
    assert report.main(["guilty", "--option", "colour=1"]) == 2
    assert "no option colour" in capsys.readouterr().err
