"""The probe: one look at an instrument from the command line of any host."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import drivers, probe
from devices.drivers.base import Channel, Driver, Option, Secret
from devices.links.stream import StreamLink
from devices.readings import Event, Quality, Reading, Run, Vector
from tests.devices.edge.world import Line
from tests.devices.simulators.served import served

ROOT = Path(__file__).resolve().parents[2]


class Spectrometer(Driver):
    """Says a line of words for each line it is asked."""

    label = "Spectrometer"
    schemes = ("tcp",)
    example = "tcp://192.168.1.9:99"
    options = (
        Option("gain", float, 1.0, "A factor"),
        Option("lamps", list, [], "The lamps"),
        Option("password", Secret, "", "For the lamp"),
        Option("mode", str, "slow", "How it measures", choices=("slow", "fast")),
    )
    channels = (
        Channel("level", "Level", "cm"),
        Channel("spectrum", "Spectrum", kind="vector"),
        Channel("door", "Door", kind="bool"),
        Channel("name", "Name", kind="text"),
    )
    link: StreamLink

    async def open(self) -> None:
        self.link.listen(self.hear, lambda error: None)
        self.link.write(b"?\n")

    def hear(self, chunk: bytes) -> None:
        self.tell([Event("lamp", chunk.decode().strip()), Run("7", "scan", "running")])
        self.tell([Reading("level", 12.5 * self.settings["gain"])])

    async def read(self) -> list[Reading]:
        return [
            Reading("spectrum", Vector(tuple(map(float, range(9))))),
            Reading("name", "two\nlines " + self.secrets.get("password", "").replace("o", "0")),
            Reading("odd", None, Quality.BAD),
        ]


@pytest.fixture(autouse=True)
def spectrometer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(drivers.OWN, "spectrometer", f"{__name__}:Spectrometer")
    monkeypatch.setattr(probe, "SAYS_WITHIN", 0.2)
    drivers.load.cache_clear()
    yield
    drivers.load.cache_clear()


@pytest.fixture
def line(line: Line) -> Line:
    line.answer = lambda request: b"lit\n"
    return line


async def probed(*words: str) -> int:
    """In a thread, as the server it asks is in this one."""
    return await asyncio.to_thread(probe.main, words)


async def test_a_table_says_all_that_is_said(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    assert await probed("spectrometer", line.address, "--option", "gain=2") == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.startswith(f"Spectrometer at {line.address}: connected in ")
    assert [row.split() for row in rows] == [
        ["CHANNEL", "VALUE", "UNIT", "QUALITY", "LABEL"],
        ["level", "25", "cm", "good", "Level"],
        ["spectrum", "0,", "1,", "2,", "3,", "4,", "5,", "6,", "7,", "…", "(9)", "good", "Spectrum"],
        ["door", "–", "nothing", "said", "Door"],
        ["name", "two", "lines", "good", "Name"],
        ["odd", "–", "bad", "(not", "declared)"],
        ["event", "lamp:", "lit"],
        ["run", "7", "(scan):", "running"],
    ]


async def test_it_goes_on_for_some_seconds_if_asked(
    line: Line, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "EVERY", 0.05)
    assert await probed("spectrometer", line.address, "--seconds", "0.12") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("name  two lines")]) in (2, 3, 4)
    assert "odd  –   bad" in lines or "odd  –  bad" in lines


async def test_a_password_comes_from_the_environment_as_at_the_edge(
    line: Line, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("spectrometer", line.address, "--option", "password=LAMP")
    assert await probed(*words) == 2
    assert "LABSITE_SECRET_LAMP_HOSTS" in capsys.readouterr().err
    monkeypatch.setenv("LABSITE_SECRET_LAMP_HOSTS", "127.0.0.1")
    monkeypatch.setenv("LABSITE_SECRET_LAMP", "foo")
    assert await probed(*words) == 0
    assert "two lines f00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["spectrometer", "tcp://127.0.0.1:1"], 1, "error: tcp://127.0.0.1:1: connection refused"),
        (["spectrometer", "tcp://nowhere.invalid:1"], 1, "nowhere.invalid"),
        (["spectrometer", "nowhere"], 2, "is no URL"),
        (["spectrometer", "edge://local"], 2, "a Spectrometer has one like tcp://192.168.1.9:99"),
        (["samovar", "tcp://127.0.0.1:1"], 2, "no driver 'samovar'; there are"),
        (["spectrometer", "tcp://127.0.0.1:1", "--option", "gain"], 2, "'gain' is not NAME=VALUE"),
        (["spectrometer", "tcp://127.0.0.1:1", "--option", "gain=much"], 2, "'much' is not a float"),
        (["spectrometer", "tcp://127.0.0.1:1", "--option", "colour=1"], 2, "no option colour"),
        (["spectrometer", "tcp://127.0.0.1:1", "--option", "lamps={}"], 2, "option lamps: {} is no list"),
        (["spectrometer", "tcp://127.0.0.1:1", "--option", "password=x y"], 2, "only named here"),
        (["spectrometer", "tcp://127.0.0.1:1", "--option", "mode=1"], 2, "is none of slow, fast"),
        (["edge_host", "edge://local"], 1, "no edge runs in this process"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main(words) == code
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)


async def test_a_drivers_own_mistake_is_told_in_one_line(
    line: Line, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(self: Any) -> list[Reading]:
        raise KeyError("key")

    monkeypatch.setattr(Spectrometer, "read", read)
    assert await probed("spectrometer", line.address) == 1
    assert capsys.readouterr().err == "error: a mistake in the driver, while reading it: KeyError: 'key'\n"


def test_without_an_address_it_tells_what_the_driver_offers(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(["spectrometer"]) == 0
    told = capsys.readouterr().out
    assert "address: tcp://192.168.1.9:99" in told
    assert "--option mode=…  (str, one of slow, fast; 'slow' if left out) How it measures" in told
    assert "--option password=…  (secret; '' if left out) For the lamp" in told


async def test_it_runs_as_a_program_of_its_own_without_django() -> None:
    async with served() as door:
        command = [sys.executable, "-X", "importtime", "-m", "devices.probe", "thermostat", door.address]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 0, done.stderr
    assert "ch0.temperature" in done.stdout
    assert "django" not in done.stderr
    assert "celery" not in done.stderr
    wrong = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "devices.probe", "thermostat", "tcp://127.0.0.1:1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (wrong.returncode, wrong.stderr) == (1, "error: tcp://127.0.0.1:1: connection refused\n")
