"""Faults on demand: how they are written, when they hold, and what the real driver makes of each."""

import asyncio
import time

import pytest

from devices.errors import LinkError, ReplyError
from devices.simulators.faults import BadFault, Fault, Faults
from tests.devices.simulators.served import Clock, dialled, driven, served
from tests.waiting import until

ANSWER = b'[{"channel":0,"time":1e0},{"channel":1,"time":1.06e0}]\n'


# ---- how they are written


def test_a_fault_is_read() -> None:
    fault = Fault.parse("slow:p=0.5,from=10,to=20,every=4,for=1,delay=0.25,instrument=3")
    assert fault == Fault("slow", p=0.5, start=10.0, end=20.0, every=4.0, lasts=1.0, delay=0.25, instrument=3)
    assert Fault.parse("hang") == Fault("hang")
    assert Fault.parse("slow").delay == 1.0
    assert Fault.parse("unplug:channel=1", ["unplug"]).channel == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no kind ''; there are refuse, hang"),
        ("explode", "no kind 'explode'"),
        ("unplug", "no kind 'unplug'"),
        ("hang:p", "'p' is not key=value"),
        ("hang:p=often", "p is 'often'"),
        ("hang:p=nan", "p is 'nan'"),
        ("hang:p=0", "p is a share"),
        ("hang:p=2", "p is a share"),
        ("hang:from=-1", "from is '-1'"),
        ("hang:from=5,to=5", "from must be before to"),
        ("hang:every=5", "every and for go together"),
        ("hang:for=5", "every and for go together"),
        ("hang:every=5,for=6", "for being the shorter"),
        ("hang:instrument=first", "instrument is 'first'"),
        ("hang:colour=blue", "no key colour"),
    ],
)
def test_a_fault_that_cannot_be_read_says_why(text: str, words: str) -> None:
    with pytest.raises(BadFault, match=words):
        Fault.parse(text)


# ---- when they hold


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("hang", [0, 1, 9, 15, 25, 1000]),
        ("hang:from=10,to=20", [15]),
        ("hang:from=5", [9, 15, 25, 1000]),
        ("hang:every=10,for=2", [0, 1, 1000]),
        ("hang:from=9,every=8,for=1", [9, 25]),
        ("hang:instrument=1", [0, 1, 9, 15, 25, 1000]),
        ("hang:instrument=0", []),
    ],
)
def test_a_fault_holds_at_its_times(text: str, times: list[float]) -> None:
    fault = Fault.parse(text)
    assert [at for at in (0, 1, 9, 15, 25, 1000) if fault.holds(1, at)] == times


def test_a_share_of_exchanges_is_hit_the_same_with_the_same_seed() -> None:
    def hit(seed: int) -> list[bool]:
        faults = Faults([Fault.parse("hang:p=0.2")], seed)
        return [faults.deliver(ANSWER, 0, 0.0) is not None for _ in range(1_000)]

    assert hit(1) == hit(1) != hit(2)
    assert 150 < sum(hit(1)) < 250


def test_the_first_fault_that_applies_wins() -> None:
    faults = Faults([Fault.parse("hang:from=10"), Fault.parse("slow:delay=3")])
    before, after = faults.deliver(ANSWER, 0, 5.0), faults.deliver(ANSWER, 0, 15.0)
    assert before is not None
    assert before.pieces == ((3.0, ANSWER),)
    assert after is not None
    assert after.pieces == ()


@pytest.mark.parametrize("seed", range(50))
def test_pieces_are_the_whole_answer_and_garbage_is_none(seed: int) -> None:
    split = Faults([Fault.parse("split")], seed).deliver(ANSWER, 0, 0.0)
    assert split is not None
    assert b"".join(piece for _, piece in split.pieces) == ANSWER
    assert len(split.pieces) > 1
    garbage = Faults([Fault.parse("garbage")], seed).deliver(ANSWER, 0, 0.0)
    assert garbage is not None
    line = b"".join(piece for _, piece in garbage.pieces)
    assert line != ANSWER
    assert line.count(b"\n") == 1
    assert not garbage.answered


# ---- what the driver makes of them


async def test_an_instrument_that_hangs_is_given_up_at_the_deadline() -> None:
    clock = Clock()
    sent: list[str] = []
    async with (
        served("hang:from=1", clock=clock, record=lambda _, reply: sent.append(reply)) as door,
        driven(door, 0.1) as thermostat,
    ):
        clock.now += 1.0
        before = time.monotonic()
        with pytest.raises(LinkError, match="no answer within"):
            await thermostat.read()
        assert time.monotonic() - before < 20
    assert not sent


async def test_an_answer_later_than_the_deadline_is_never_taken() -> None:
    clock = Clock()
    async with served("slow:from=1,to=2,delay=0.2", clock=clock) as door, driven(door, 0.1) as thermostat:
        clock.now += 1.0
        with pytest.raises(LinkError, match="no answer within"):
            await thermostat.read()
        clock.now += 1.0
        async with driven(door) as again:
            assert {r.value for r in await again.read() if r.key.endswith("device_time")} == {1.92, 1.98}


async def test_an_answer_before_the_deadline_is_taken_however_slow() -> None:
    clock = Clock()
    async with served("slow:from=1,delay=0.1", clock=clock) as door, driven(door) as thermostat:
        clock.now += 1.0
        before = time.monotonic()
        assert len(await thermostat.read()) == 26
        assert time.monotonic() - before > 0.09


async def test_a_connection_closed_midway_is_a_link_error() -> None:
    clock = Clock()
    async with served("close:from=1", clock=clock) as door, driven(door) as thermostat:
        clock.now += 1.0
        with pytest.raises(LinkError, match="closed by the other side"):
            await thermostat.read()


async def test_garbage_is_a_reply_error_and_the_next_poll_is_good() -> None:
    clock = Clock()
    async with served("garbage:from=1,to=2", clock=clock) as door, driven(door) as thermostat:
        clock.now += 1.0
        for _ in range(20):
            with pytest.raises(ReplyError):
                await thermostat.read()
        clock.now += 1.0
        assert len(await thermostat.read()) == 26


@pytest.mark.parametrize("kind", ["split", "merge"])
async def test_packets_do_not_matter(kind: str) -> None:
    clock = Clock()
    sent: list[str] = []
    async with (
        served(kind, clock=clock, record=lambda _, reply: sent.append(reply)) as door,
        driven(door) as thermostat,
    ):
        for _ in range(10):
            clock.now += 1.0
            assert len(await thermostat.read()) == 26
    assert len(sent) == 10


async def test_merged_answers_come_in_one_packet() -> None:
    async with served("merge:delay=0.05", preset="factory") as door:
        reader, writer = await dialled(door)
        writer.write(b"fan\nipv4\nfan\n")
        assert await reader.read(4096) == b'null\n{"addr":"192.168.1.26/24"}\nnull\n'
        writer.close()


async def test_an_instrument_that_is_switched_off_drops_and_refuses() -> None:
    clock = Clock()
    async with served("refuse:from=1,to=2", clock=clock) as door:
        port = door.address
        async with driven(door) as thermostat:
            clock.now += 1.0
            door.look()
            with pytest.raises(LinkError):
                await thermostat.read()
        with pytest.raises(LinkError, match="connection refused"):
            async with driven(door):
                pass
        clock.now += 1.0
        door.look()
        async with driven(door) as thermostat:
            assert await thermostat.read()
        assert door.address == port


async def test_a_share_of_connections_is_turned_away() -> None:
    came, turned_away = 0, 0
    async with served("refuse:p=0.5") as door:
        for _ in range(40):
            try:
                async with driven(door):
                    came += 1
            except LinkError:
                turned_away += 1
    assert came > 5
    assert turned_away > 5


async def test_a_fifth_connection_is_refused_until_one_leaves() -> None:
    async with served(preset="factory") as door:
        clients = [await dialled(door) for _ in range(4)]
        await asyncio.to_thread(until, lambda: len(door.clients) == 4)
        with pytest.raises(ConnectionRefusedError):
            await dialled(door)
        clients.pop()[1].close()
        await asyncio.to_thread(until, lambda: len(door.clients) == 3)
        clients.append(await dialled(door))
        for _, writer in clients:
            writer.close()


async def test_reset_breaks_every_connection_and_the_device_is_there_again() -> None:
    async with served(preset="factory") as door:
        (reader, writer), (other, other_writer) = await dialled(door), await dialled(door)
        writer.write(b"fan\nreset\n")
        for each in (reader, other):
            with pytest.raises(ConnectionResetError):
                await each.read()
        await asyncio.to_thread(until, lambda: not door.clients)
        async with driven(door) as thermostat:
            assert await thermostat.read()
        writer.close()
        other_writer.close()


async def test_dfu_is_the_end_of_the_device() -> None:
    async with served(preset="factory") as door:
        _, writer = await dialled(door)
        writer.write(b"dfu\n")
        await asyncio.to_thread(until, lambda: not door.is_open)
        with pytest.raises(ConnectionRefusedError):
            await dialled(door)
        writer.close()


async def test_answers_are_dropped_whole_when_the_client_does_not_read() -> None:
    sent: list[str] = []
    async with served(preset="factory", record=lambda _, reply: sent.append(reply)) as door:
        reader, writer = await dialled(door)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(200):
            writer.write(b"report\n" * 100)
            await writer.drain()
        writer.write(b"quit\n")
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        lines = (await reader.read()).splitlines(keepends=True)
        assert len(lines) == len(sent)
        assert all(line.endswith(b"]\n") for line in lines)
        writer.close()


# ---- streaming (dialect A, §8)


async def test_reports_stream_until_they_are_stopped() -> None:
    async with served(dialect="A", preset="factory") as door:
        reader, writer = await dialled(door)
        writer.write(b"report mode on\n")
        assert await reader.readline() == b"{}\n"
        lines = [await reader.readline() for _ in range(4)]
        assert all(line.startswith(b'[{"channel":0,"time"') for line in lines)
        assert len(set(lines)) == 4
        writer.write(b"report mode\nreport mode off\n")
        while (line := await reader.readline()) != b"{}\n":
            assert line.startswith((b'[{"channel":0', b'{ "report": true }'))
        writer.write(b"report mode\n")
        assert await reader.readline() == b'{ "report": false }\n'
        writer.close()


@pytest.mark.parametrize("dialect", ["A", "B", "C", "D"])
async def test_the_driver_knows_every_dialect(dialect: str) -> None:
    clock = Clock()
    async with served(dialect=dialect, clock=clock) as door, driven(door) as thermostat:
        assert getattr(thermostat, "dialect", None) == dialect
        clock.now += 1.0
        assert len(await thermostat.read()) == 26
