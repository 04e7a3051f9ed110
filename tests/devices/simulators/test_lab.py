"""`python -m devices.simulators lab`: the demo lab, as a process of its own."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devices import links
from devices.errors import LinkError
from devices.simulators import lab
from labsite.onebox import ports
from tests.waiting import until

Start = Callable[..., subprocess.Popen[str]]
COMMAND = [sys.executable, "-W", "error", "-m", "devices.simulators", "lab"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def starting(*arguments: str) -> subprocess.Popen[str]:
        command = [*COMMAND, "--folder", str(tmp_path), *arguments]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield starting
    for process in started:
        process.terminate()
        _, errors = process.communicate(timeout=10)
        assert "Traceback" not in errors, errors
        assert process.returncode == 0


def announced(process: subprocess.Popen[str], count: int) -> dict[int, dict[str, str]]:
    """What it says of its instruments, by their number."""
    assert process.stdout
    lines = [json.loads(process.stdout.readline()) for _ in range(count)]
    return {line["instrument"]: line for line in lines}


async def answers(address: str) -> bool:
    try:
        link = await links.connect(links.check(address), 5.0)
    except LinkError:
        return False
    await link.close()
    return True


def test_each_is_where_the_table_says(start: Start, tmp_path: Path) -> None:
    """So that what is entered in Labsite, before the lab is started, is right."""
    port = ports.free(run=lab.PORTS)
    names = [stand.name for stand in lab.known()]
    said = announced(start(*names, "--listen", f"127.0.0.1:{port}"), len(names))
    for stand in lab.known():
        assert said[stand.place]["address"] == stand.address("127.0.0.1", port, tmp_path)
        assert said[stand.place]["driver"] == stand.driver
    assert len({stand.place for stand in lab.STANDS}) == len(lab.STANDS) == lab.PORTS


def test_without_names_one_of_each_kind_stands_there(start: Start) -> None:
    said = announced(start(), len(lab.usual()))
    assert {line["driver"] for line in said.values()} == {stand.driver for stand in lab.known()}


async def test_a_file_unplugs_an_instrument_and_its_removal_plugs_it_in(start: Start, tmp_path: Path) -> None:
    process = start("thermostat-1", "thermostat-2")
    first, second = (line["address"] for line in announced(process, 2).values())
    switch = tmp_path / "thermostat-1.off"
    switch.touch()
    await becomes(first, False)
    assert await answers(second)
    switch.unlink()
    await becomes(first, True)


async def becomes(address: str, state: bool) -> None:
    async with asyncio.timeout(10):
        while await answers(address) is not state:  # noqa: ASYNC110 - a connection is what is awaited
            await asyncio.sleep(0.05)  # the lab looks four times a second


async def test_a_taken_port_costs_only_its_own_instrument_and_is_tried_again(start: Start) -> None:
    port = ports.free(run=lab.PORTS)
    with socket.create_server(("127.0.0.1", port)):
        process = start("thermostat-1", "thermostat-2", "--listen", f"127.0.0.1:{port}")
        assert list(announced(process, 1)) == [1]
        assert process.stderr
        assert "thermostat-1 cannot be served" in process.stderr.readline()
    assert list(announced(process, 1)) == [0]


@pytest.mark.parametrize(
    ("arguments", "words"), [(["toaster"], "no toaster in the demo lab"), (["--listen", "x"], "host:port")]
)
def test_what_cannot_be_is_refused_in_words(arguments: list[str], words: str) -> None:
    ended = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert words in ended.stderr


def test_it_stops_when_it_is_told(start: Start) -> None:
    process = start("thermostat-1")
    announced(process, 1)
    process.send_signal(signal.SIGINT)
    until(lambda: process.poll() == 0, 10)
