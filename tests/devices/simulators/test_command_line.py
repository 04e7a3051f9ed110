"""`python -m devices.simulators`, as a process of its own, with the real driver at its other end."""

import asyncio
import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devices import drivers, links
from devices.errors import DriverError, LinkError
from devices.readings import Reading
from devices.simulators.ledger import Reply, replies
from tests.waiting import until

Start = Callable[..., tuple[subprocess.Popen[str], list[str]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a simulator; the process, and the addresses it printed."""
    started: list[subprocess.Popen[str]] = []

    def starting(*arguments: str, count: int = 1) -> tuple[subprocess.Popen[str], list[str]]:
        command = [sys.executable, "-W", "error", "-m", "devices.simulators", "thermostat", *arguments]
        process = subprocess.Popen(
            [*command, "--count", str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout
        lines = [json.loads(process.stdout.readline()) for _ in range(count)]
        assert [line["instrument"] for line in lines] == list(range(count))
        assert {line["driver"] for line in lines} == {"thermostat"}
        return process, [line["address"] for line in lines]

    yield starting
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devices.simulators", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


async def polled(address: str, times: int, deadline: float = 5.0, apart: float = 0.13) -> list[list[Reading]]:
    """What the real driver reads; after a lost link it connects again, as an edge does."""
    polls: list[list[Reading]] = []
    driver = None
    for _ in range(times):
        try:
            if driver is None:
                driver = drivers.load("thermostat")(await links.connect(links.check(address), deadline), {})
                await driver.open()
            polls.append(await driver.read())
        except LinkError:
            if driver is not None:
                await driver.link.close()
            driver = None
        except DriverError:
            pass
        await asyncio.sleep(apart)
    if driver is not None:
        await driver.link.close()
    return [poll for poll in polls if poll]


def merged(polls: list[list[Reading]]) -> set[tuple[tuple[str, Any], ...]]:
    """Each TEC channel's sample as the driver gave it."""
    return {
        tuple(sorted((r.key, r.value) for r in poll if r.key.startswith(channel)))
        for poll in polls
        for channel in ("ch0.", "ch1.")
        if any(r.key.startswith(channel) for r in poll)
    }


def sent(ledger: list[Reply]) -> set[tuple[tuple[str, Any], ...]]:
    return {
        tuple(sorted((key, value) for key, value in reply.values.items() if key.startswith(channel)))
        for reply in ledger
        for channel in ("ch0.", "ch1.")
    }


# ---- the ledger


async def test_every_reply_that_was_read_is_in_the_ledger_with_its_values(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.sqlite"
    process, addresses = start("--ledger", str(path), count=3)
    polls = await asyncio.gather(*(polled(address, 10) for address in addresses))
    process.terminate()
    assert process.wait(10) == 0
    ledger = list(replies(path))
    assert len(ledger) == sum(map(len, polls)) == 30
    for number, address in enumerate(addresses):
        own = [reply for reply in ledger if reply.instrument == number]
        assert {reply.address for reply in own} == {address}
        assert merged(polls[number]) == sent(own)
        assert [r.sent_mono for r in own] == sorted(r.sent_mono for r in own)
        assert len({reply.device_times for reply in own}) == len(own)


async def test_the_ledger_holds_under_faults(start: Start, tmp_path: Path) -> None:
    """What was read was sent; what was damaged was neither."""
    path = tmp_path / "ledger.sqlite"
    faults = (
        "hang:p=0.1",
        "close:p=0.1",
        "garbage:p=0.2",
        "split:p=0.2",
        "slow:p=0.2,delay=0.05",
        "merge:p=0.2",
    )
    arguments = [word for fault in faults for word in ("--fault", fault)]
    process, addresses = start("--ledger", str(path), "--seed", "7", *arguments, count=4)
    polls = await asyncio.gather(*(polled(address, 25, deadline=0.5) for address in addresses))
    process.terminate()
    assert process.wait(10) == 0
    ledger = list(replies(path))
    assert sum(map(len, polls)) > 40
    for number in range(4):
        assert merged(polls[number]) <= sent([reply for reply in ledger if reply.instrument == number])


async def test_the_ledger_is_read_while_it_is_written_and_survives_a_kill(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.sqlite"
    process, (address,) = start("--ledger", str(path))
    polls = await polled(address, 3)
    await asyncio.to_thread(until, lambda: len(list(replies(path))) == 3)
    process.kill()
    process.wait(10)
    _, (second_address,) = start("--ledger", str(path))
    polls += await polled(second_address, 2)
    await asyncio.to_thread(until, lambda: len(list(replies(path))) == 5)
    ledger = list(replies(path))
    assert [reply.run for reply in ledger] == [1, 1, 1, 2, 2]
    assert [reply.address for reply in ledger] == [address] * 3 + [second_address] * 2
    assert merged(polls) == sent(ledger)


def test_a_ledger_that_cannot_be_opened_is_named() -> None:
    ended = run("thermostat", "--ledger", "/nonexistent/ledger.sqlite")
    assert ended.returncode == 1
    assert "/nonexistent/ledger.sqlite" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_the_ledger_is_plain_sqlite(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    process, (address,) = start("--ledger", str(path))
    await polled(address, 1)
    process.terminate()
    process.wait(10)
    database = sqlite3.connect(path)
    assert database.execute("SELECT instrument, sent_at > 0, json_valid(reply) FROM reply").fetchall() == [
        (0, 1, 1)
    ]
    database.close()


# ---- starting and stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(start: Start, number: signal.Signals) -> None:
    process, (address,) = start()
    link = await links.connect(links.check(address), 5.0)
    process.send_signal(number)
    assert await asyncio.to_thread(process.wait, 10) == 0
    assert process.stderr
    assert process.stderr.read() == ""
    await link.close()


def three_free_ports() -> int:
    """The first of three ports in a row that nobody has."""
    for port in range(20_000, 30_000):
        try:
            for each in range(port, port + 3):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no free ports")


def test_instruments_are_at_ports_in_a_row(start: Start) -> None:
    port = three_free_ports()
    _, addresses = start("--listen", f"127.0.0.1:{port}", count=3)
    assert addresses == [f"tcp://127.0.0.1:{each}" for each in range(port, port + 3)]


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("thermostat", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "cannot listen on 127.0.0.1:" in ended.stderr
    assert "in use" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["toaster"], "toaster"),
        (["thermostat", "--count", "0"], "whole number of 1 or more"),
        (["thermostat", "--listen", "nowhere"], "write host:port"),
        (["thermostat", "--listen", "127.0.0.1:65535", "--count", "2"], "ports end at 65535"),
        (["thermostat", "--fault", "explode"], "no kind 'explode'"),
        (["thermostat", "--fault", "slow:p=x"], "p is 'x'"),
        (["thermostat", "--set", "dialect"], "is not KEY=VALUE"),
        (["thermostat", "--set", "dialect=E"], "none of A, B, C, D"),
        (["thermostat", "--set", "colour=blue"], "has no setting colour"),
        ([], "DRIVER"),
    ],
)
def test_what_cannot_be_is_refused_in_words(arguments: list[str], words: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_help_tells_all_faults_and_settings() -> None:
    text = run("--help").stdout
    for word in ("refuse", "merge", "every=60,for=5", "dialect", "preset", "unplug"):
        assert word in text
