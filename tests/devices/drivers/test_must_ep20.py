"""The driver of the MUST EP20 against a serial port that answers what each test says; real captures where
there are any (must-ups.md, transcripts 1 to 11)."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices import drivers, links
from devices.drivers import must_ep20
from devices.drivers.base import Driver
from devices.drivers.must_ep20_registers import STATUS
from devices.drivers.must_ep20_wire import Reply, crc, framed, read_request
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.readings import Quality, Reading
from tests.devices.links.plug import Plug

STATUS_REQUEST = bytes.fromhex("0a 03 75 30 00 1b 1e b9")
SETTINGS_REQUEST = bytes.fromhex("0a 03 79 18 00 0a 5d ed")
MAINS = bytes.fromhex(
    "0a 03 36 00 02 8e 32 00 04 00 0c 03 e8 08 b6 01 f4 08 b4 01 f4 00 0d 00 ac 01 2b 00 11 00 00 00 87 00 10"
    " 00 00 00 64 00 20 00 00 00 00 00 00 00 00 00 02 00 01 00 01 00 01 ce 33"
)
CHARGING = bytes.fromhex(
    "0a 03 36 00 02 8e 32 00 04 00 0c 03 e8 08 5c 01 f4 08 53 01 f4 00 08 00 63 00 b8 00 09 00 00 00 85 00 91"
    " 00 00 00 52 00 27 00 00 00 00 00 00 00 00 00 00 00 01 00 01 00 01 75 70"
)
BATTERY = bytes.fromhex(
    "0a 03 36 00 02 8e 32 00 03 00 0c 03 e8 00 00 00 00 08 a1 01 f4 00 07 00 72 00 ac 00 0b 00 00 00 7b ff aa"
    " 00 00 00 34 00 20 00 02 00 00 00 00 00 00 00 00 00 00 00 01 00 01 1e 70"
)
EXAMPLE = bytes.fromhex(
    "0a 03 36 00 00 41 46 00 04 00 0c 03 e8 08 d0 01 f5 08 c8 01 f5 00 06 00 8a 00 91 00 0e 00 00 00 88 00 10"
    " 00 00 00 64 00 21 00 00 00 00 00 00 00 00 00 02 00 01 00 01 00 01 52 dd"
)
LOW_BATTERY = bytes.fromhex(
    "0a 03 36 00 00 41 46 00 03 00 0c 03 e8 00 00 00 00 08 a1 01 f4 00 07 00 72 00 ac 00 0b 00 00 00 73 ff aa"
    " 00 00 00 13 00 22 00 00 00 01 00 00 00 02 00 00 00 00 00 01 00 01 b9 81"
)
HIGH_LOAD = bytes.fromhex(
    "0a 03 36 00 00 41 46 00 04 00 0c 03 e8 08 d0 01 f5 08 c8 01 f5 00 26 03 2a 03 66 00 51 00 01 00 88 00 10"
    " 00 00 00 64 00 29 00 00 00 00 00 00 00 04 00 02 00 01 00 01 00 01 89 b3"
)
STOPPED = bytes.fromhex(
    "0a 03 36 00 00 41 46 00 05 00 0c 03 e8 08 d0 01 f5 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 88 00 10"
    " 00 00 00 64 00 21 00 00 00 02 00 07 00 04 00 02 00 01 00 01 00 01 99 b9"
)
SETTINGS = bytes.fromhex("0a 03 14 00 00 00 dc 00 69 00 8d 00 88 00 14 00 00 00 00 00 00 00 01 f0 1e")
REFUSALS = {
    code: bytes.fromhex(f"0a 83 {rest}")
    for code, rest in {1: "01 f1 32", 2: "02 b1 33", 3: "03 70 f3", 4: "04 31 31", 6: "06 b0 f0"}.items()
}
BUSY = REFUSALS[6]
FAST = {"timeout": 0.05}


class Ups(Plug):
    """Answers requests for the status with each of `replies` in turn, the last for good; and for settings."""

    def __init__(self, path: Path) -> None:
        self.replies: list[bytes] = [MAINS]
        self.settings: list[bytes] = [SETTINGS]
        super().__init__(path, self._answers)

    def _answers(self, request: bytes) -> list[bytes]:
        replies = {STATUS_REQUEST: self.replies, SETTINGS_REQUEST: self.settings}.get(request, [REFUSALS[2]])
        return [replies.pop(0) if len(replies) > 1 else replies[0]]


@pytest.fixture
async def ups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ups]:
    monkeypatch.setattr(must_ep20, "QUIET", 0.01)
    ups = Ups(tmp_path / "ups")
    yield ups
    ups.pull()


@asynccontextmanager
async def opened(ups: Plug, **options: Any) -> AsyncIterator[Driver]:
    driver_class = drivers.load("must_ep20")
    settings = driver_class.link_settings(driver_class.checked_options(options))
    link = await links.connect(links.check(f"serial://{ups.path}"), 5.0, settings)
    try:
        driver = driver_class(link, options)
        await driver.open()
        yield driver
    finally:
        await link.close()


def values(readings: Iterable[Reading]) -> dict[str, Any]:
    return {reading.key: reading.value for reading in readings if reading.quality is Quality.GOOD}


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            MAINS,
            {
                "status": "online", "work_state": "line", "machine_type": "PV2000 Pro",
                "software_version": 36402, "battery_class": 12, "rated_power": 1000,
                "input_voltage": 223.0, "input_frequency": 50.0, "output_voltage": 222.8, "frequency": 50.0,
                "load_current": 1.3, "load_power": 172, "load_apparent_power": 299, "load_percent": 17,
                "load_state": "normal", "battery_voltage": 13.5, "battery_current": 1.6, "battery_level": 100,
                "temperature": 32.0, "regulation": "bypass", "buzzer": "off", "fault": "none",
                "fault_number": 0, "alarm_bits": 0, "alarm.battery_low": False, "alarm.overload": False,
                "alarm.battery_high": False, "alarm.parameter_error": False, "charge_stage": "float",
                "charging": True, "main_switch": True, "delay_type": "long delay",
            },
        ),
        (
            CHARGING,
            {
                "input_voltage": 214.0, "output_voltage": 213.1, "load_power": 99, "load_apparent_power": 184,
                "load_percent": 9, "battery_voltage": 13.3, "battery_current": 14.5, "battery_level": 82,
                "temperature": 39.0, "charge_stage": "constant current", "main_switch": True,
            },
        ),
        (
            BATTERY,
            {
                "status": "battery", "work_state": "backup", "input_voltage": 0.0, "input_frequency": 0.0,
                "output_voltage": 220.9, "frequency": 50.0, "load_power": 114, "load_apparent_power": 172,
                "load_percent": 11, "battery_voltage": 12.3, "battery_current": -8.6, "battery_level": 52,
                "temperature": 32.0, "regulation": "boost", "charging": False,
            },
        ),
        (
            EXAMPLE,
            {"input_voltage": 225.6, "output_voltage": 224.8, "frequency": 50.1, "load_power": 138,
             "load_percent": 14, "battery_voltage": 13.6, "battery_level": 100, "temperature": 33.0,
             "software_version": 16710, "machine_type": "EP2000 Pro"},
        ),
        (
            LOW_BATTERY,
            {"battery_level": 19, "battery_voltage": 11.5, "alarm.battery_low": True, "alarm.overload": False,
             "alarm_bits": 2, "buzzer": "sounding"},
        ),
        (HIGH_LOAD, {"temperature": 41.0, "load_percent": 81, "load_state": "alarm", "alarm.overload": True}),
        (
            STOPPED,
            {"status": "unknown", "work_state": "stop", "fault": "fault 7: overload", "fault_number": 7,
             "buzzer": "alarm", "output_voltage": 0.0, "frequency": 0.0},
        ),
    ],
    ids=["mains", "charging", "battery", "example", "low battery", "high load", "stopped"],
)  # fmt: skip
async def test_a_status_is_taken_apart(ups: Ups, reply: bytes, expected: dict[str, Any]) -> None:
    ups.replies = [reply]
    async with opened(ups) as driver:
        found = values(await driver.read())
    assert {key: found.get(key) for key in expected} == expected


async def test_every_channel_is_read(ups: Ups) -> None:
    async with opened(ups) as driver:
        first = await driver.read()
        second = await driver.read()
        declared = {channel.key: channel.kind for channel in driver.channels_for({})}
    kinds = {"float": float, "int": int, "bool": bool, "text": str}
    for reading in first:
        assert type(reading.value) is kinds[declared[reading.key]]
        assert reading.quality is Quality.GOOD
    # This unit refuses the registers from 31016 on, as they are not known of all.
    assert declared.keys() - {r.key for r in first} == {
        "settings.utility_power",
        "settings.overload_recovery",
    }
    assert not any(reading.key.startswith("settings.") for reading in second)
    assert sorted(r.index for r in STATUS) == [index for index in range(27) if index != 16]


async def test_it_asks_as_its_documents_say(ups: Ups) -> None:
    async with opened(ups) as driver:
        for _ in range(3):
            await driver.read()
    more = read_request(10, 31016, 2)
    assert ups.heard == [STATUS_REQUEST, SETTINGS_REQUEST, more, STATUS_REQUEST, STATUS_REQUEST]
    assert driver.link_settings({})["baudrate"] == 9600


async def test_settings_are_taken_apart(ups: Ups) -> None:
    async with opened(ups) as driver:
        found = values(await driver.read())
    assert {key: value for key, value in found.items() if key.startswith("settings.")} == {
        "settings.frequency": 50,
        "settings.voltage": 220,
        "settings.shutdown_voltage": 10.5,
        "settings.absorption_voltage": 14.1,
        "settings.float_voltage": 13.6,
        "settings.charge_current": 20,
        "settings.buzzer_silenced": False,
        "settings.grid_charging": True,
        "settings.key_sound": True,
        "settings.backlight": True,
    }


def with_registers(**registers: int) -> bytes:
    """The capture on mains with other values, as `r17=101`."""
    frame = bytearray(MAINS)
    for name, value in registers.items():
        at = 3 + 2 * int(name[1:])
        frame[at : at + 2] = value.to_bytes(2, "big")
    return framed(bytes(frame[:-2]))


@pytest.mark.parametrize(
    ("registers", "key", "value", "quality"),
    [
        ({"r5": 3001}, "input_voltage", 300.1, Quality.BAD),
        ({"r6": 390}, "input_frequency", 39.0, Quality.BAD),
        ({"r8": 0}, "frequency", 0.0, Quality.GOOD),
        ({"r17": 101}, "battery_level", 101, Quality.BAD),
        ({"r17": 0}, "battery_level", 0, Quality.GOOD),
        ({"r12": 201}, "load_percent", 201, Quality.BAD),
        ({"r18": 0xFFFB}, "temperature", -5.0, Quality.GOOD),
        ({"r18": 121}, "temperature", 121.0, Quality.BAD),
        ({"r15": 0x8000}, "battery_current", -3276.8, Quality.GOOD),
        ({"r13": 9}, "load_state", "code 9", Quality.UNCERTAIN),
        ({"r19": 3}, "regulation", "code 3", Quality.UNCERTAIN),
        ({"r24": 7}, "charging", None, Quality.BAD),
        ({"r21": 4}, "fault", "fault 4: battery under-voltage", Quality.GOOD),
        ({"r21": 99}, "fault", "fault 99", Quality.GOOD),
        ({"r22": 0xFFFF}, "alarm.parameter_error", True, Quality.GOOD),
        ({"r0": 5}, "machine_type", "code 5", Quality.UNCERTAIN),
        ({"r2": 7}, "status", "online", Quality.GOOD),
        ({"r2": 8}, "status", "unknown", Quality.GOOD),
    ],
)
async def test_a_value_that_cannot_be_costs_no_other(
    ups: Ups, registers: dict[str, int], key: str, value: object, quality: Quality
) -> None:
    ups.replies = [with_registers(**registers)]
    async with opened(ups) as driver:
        readings = {reading.key: reading for reading in await driver.read()}
    assert (readings[key].value, readings[key].quality) == (value, quality)
    assert sum(reading.quality is not Quality.GOOD for reading in readings.values()) <= 1
    assert len(readings) >= len(STATUS)


# ---- broken replies


def again(at: int, byte: int) -> bytes:
    """The example with another byte and the checksum right for that."""
    return framed(EXAMPLE[:at] + bytes([byte]) + EXAMPLE[at + 1 : -2])


ZEROS = framed(EXAMPLE[:3] + bytes(54))
BROKEN = {
    "silence": b"",
    "wrong checksum": EXAMPLE[:-2] + b"\x52\x22",
    "short": EXAMPLE[:20],
    "wrong unit": again(0, 0x0B),
    "wrong function": again(1, 4),
    "wrong count": again(2, 0x34),
    "all zero": ZEROS,
    "nothing but zeros": bytes(59),
    "busy": BUSY,
    "settings": SETTINGS,
    "only the echo": STATUS_REQUEST,
    "a line of text": b"(226.0 195.0 226.0 014 49.0 27.5 30.0 00001000\r",
}


def test_the_broken_replies_are_those_of_the_document() -> None:
    assert crc(b"123456789") == bytes.fromhex("37 4b")
    assert BROKEN["wrong unit"][-2:] == bytes.fromhex("6d 9e")
    assert BROKEN["wrong count"][-2:] == bytes.fromhex("07 ea")
    assert ZEROS[-2:] == bytes.fromhex("00 de")
    assert read_request(10, 30000, 27) == STATUS_REQUEST


@pytest.mark.parametrize("name", BROKEN)
async def test_after_a_broken_reply_it_asks_again(ups: Ups, name: str) -> None:
    ups.replies = [BROKEN[name], BROKEN[name], EXAMPLE]
    async with opened(ups, **FAST) as driver:
        assert values(await driver.read())["input_voltage"] == 225.6
    assert ups.heard.count(STATUS_REQUEST) == 3


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_replies_cost_a_poll_and_not_the_port(ups: Ups, name: str) -> None:
    ups.replies = [*[BROKEN[name]] * 3, EXAMPLE]
    async with opened(ups, **FAST) as driver:
        error = LinkError if name == "silence" else ReplyError
        with pytest.raises(error) as told:
            await driver.read()
        assert str(told.value)
        assert "\n" not in str(told.value)
        assert len(ups.heard) == 3
        assert values(await driver.read())["input_voltage"] == 225.6


@pytest.mark.parametrize("code", [1, 2, 3, 4])
async def test_a_refusal_is_not_asked_again(ups: Ups, code: int) -> None:
    ups.replies = [REFUSALS[code], EXAMPLE]
    async with opened(ups) as driver:
        with pytest.raises(ReplyError, match=f"exception {code}"):
            await driver.read()
        assert len(ups.heard) == 1
        assert values(await driver.read())["input_voltage"] == 225.6


@pytest.mark.parametrize(
    "reply",
    [
        b"\x00\xff\x55" + EXAMPLE,
        STATUS_REQUEST + EXAMPLE,
        EXAMPLE + b"\x00\xff",
        EXAMPLE[:3] + EXAMPLE,
        EXAMPLE[:20] + EXAMPLE,
        SETTINGS + EXAMPLE,
        again(0, 0x0B) + EXAMPLE,
        b"\x0a\x83\x06" + EXAMPLE,
        b"\x0a" * 50 + EXAMPLE,
    ],
    ids=[
        "noise", "echo", "junk behind", "its head twice", "torn, then whole", "another's before it",
        "another unit's before it", "half a refusal", "babble",
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_reply_is_found_among_what_it_is_none(ups: Ups, reply: bytes, size: int) -> None:
    pieces = [reply[at : at + size] for at in range(0, len(reply), size)]
    ups.answers = lambda request: pieces if request == STATUS_REQUEST else []
    async with opened(ups, attempts=1, timeout=4.0) as driver:
        driver._blocks.clear()  # type: ignore[attr-defined]
        started = time.monotonic()
        assert values(await driver.read())["input_voltage"] == 225.6
        assert time.monotonic() - started < 3.5, "it waited for more than the reply"
        assert len(ups.heard) == 1


async def test_of_two_replies_at_once_the_last_is_the_answer(ups: Ups) -> None:
    ups.replies = [MAINS + EXAMPLE]
    async with opened(ups, attempts=1) as driver:
        driver._blocks.clear()  # type: ignore[attr-defined]
        assert values(await driver.read())["input_voltage"] == 225.6


async def test_a_reply_may_pause(ups: Ups) -> None:
    loop = asyncio.get_running_loop()

    def slowly(request: bytes) -> list[bytes]:
        loop.call_later(0.03, os.write, ups.master, EXAMPLE[20:])
        return [EXAMPLE[:20]]

    ups.answers = slowly
    async with opened(ups, attempts=1, timeout=0.5) as driver:
        driver._blocks.clear()  # type: ignore[attr-defined]
        assert values(await driver.read())["input_voltage"] == 225.6


async def test_the_late_reply_to_an_earlier_request_is_dropped(
    ups: Ups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while it is quiet between two attempts, or before the next poll."""
    monkeypatch.setattr(must_ep20, "QUIET", 0.1)
    loop = asyncio.get_running_loop()
    replies = iter([(0.12, MAINS), (0.05, EXAMPLE), (0.05, EXAMPLE)])

    def late(request: bytes) -> list[bytes]:
        after, reply = next(replies)
        loop.call_later(after, os.write, ups.master, reply)
        return []

    ups.answers = late
    async with opened(ups, timeout=0.1) as driver:
        driver._blocks.clear()  # type: ignore[attr-defined]
        assert values(await driver.read())["input_voltage"] == 225.6
        os.write(ups.master, MAINS)
        assert values(await driver.read())["input_voltage"] == 225.6


async def test_settings_never_cost_a_poll_its_time(ups: Ups, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit may be slow, and may leave out what it does not know."""
    monkeypatch.setattr(must_ep20, "SETTINGS_TIMEOUT", 0.03)
    ups.settings = [b""]
    async with opened(ups, attempts=1, timeout=4.0) as driver:
        started = time.monotonic()
        assert values(await driver.read())["input_voltage"] == 223.0
        assert time.monotonic() - started < 3.5
        monkeypatch.setattr(must_ep20, "SETTINGS_WITHIN", 0.0)
        await driver.read()
    assert ups.heard.count(SETTINGS_REQUEST) == 1


async def test_settings_that_cannot_be_are_asked_for_again(ups: Ups) -> None:
    """Three times, then seldom: and never at the cost of the status."""
    ups.settings = [framed(SETTINGS[:3] + bytes(20)), b"", BUSY, SETTINGS]
    async with opened(ups, **FAST) as driver:
        keys = [{r.key for r in await driver.read()} for _ in range(4)]
    assert all("input_voltage" in each for each in keys)
    assert not any("settings.voltage" in each for each in keys)
    assert ups.heard.count(SETTINGS_REQUEST) == 3


async def test_after_a_failed_poll_settings_are_read_again(ups: Ups) -> None:
    """As all channels were marked bad."""
    ups.replies = [MAINS, REFUSALS[4], MAINS]
    async with opened(ups) as driver:
        assert "settings.voltage" in values(await driver.read())
        with pytest.raises(ReplyError):
            await driver.read()
        assert "settings.voltage" in values(await driver.read())


async def test_another_model_is_not_read(ups: Ups) -> None:
    ups.replies = [with_registers(r0=3)]
    async with opened(ups, attempts=1) as driver:
        with pytest.raises(ReplyError, match="EP3000"):
            await driver.read()


async def test_another_unit_is_asked_by_its_number(ups: Ups) -> None:
    ups.answers = lambda request: [framed(b"\x0b" + MAINS[1:-2])] if request[0] == 11 else []
    async with opened(ups, unit=11, attempts=1) as driver:
        driver._blocks.clear()  # type: ignore[attr-defined]
        assert values(await driver.read())["input_voltage"] == 223.0
    assert ups.heard == [read_request(11, 30000, 27)]


async def test_a_silent_unit_costs_the_others_on_its_line_only_time(ups: Ups) -> None:
    """Its link need not be closed for that, nor the port."""
    ups.answers = lambda request: [MAINS] if request == STATUS_REQUEST else []
    async with opened(ups, **FAST) as first, opened(ups, unit=11, **FAST) as second:
        for _ in range(2):
            with pytest.raises(LinkError, match="unit 11 does not answer; asked 3 times"):
                await second.read()
            assert values(await first.read())["input_voltage"] == 223.0


async def test_an_unplugged_port_is_a_link_error_at_once(ups: Ups) -> None:
    async with opened(ups) as driver:
        await driver.read()
        ups.pull()
        async with asyncio.timeout(1):
            with pytest.raises(LinkError, match=r"unplugged|no such port"):
                await driver.read()


@pytest.mark.parametrize(
    "options", [{"attempts": 5}, {"timeout": 2.0}, {"attempts": 10, "timeout": 0.05}], ids=str
)
def test_options_that_outlast_a_poll_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"4\.5 s is all there is"):
        drivers.load("must_ep20").checked_options(options)


# ---- the parser, whatever comes

FRAMES = st.sampled_from([MAINS, EXAMPLE, SETTINGS, STATUS_REQUEST, *BROKEN.values(), *REFUSALS.values()])
STUFF = st.one_of(
    st.binary(max_size=80), FRAMES, FRAMES.flatmap(lambda frame: st.integers(0, 60).map(lambda n: frame[:n]))
)


def heard(pieces: Iterable[bytes]) -> bytes | None:
    """What the parser makes of what comes piece by piece; it keeps no more than a frame."""
    reply, received = Reply(10, 27), bytearray()
    for piece in pieces:
        received += piece
        found = reply(received)
        assert len(received) < 59
        if found is not None:
            return found
    return None


@given(st.lists(STUFF, max_size=12))
def test_whatever_comes_nothing_but_a_whole_reply_is_taken(pieces: list[bytes]) -> None:
    try:
        found = heard(pieces)
    except ReplyError:
        return
    if found is not None:
        assert len(found) == 54
        assert framed(b"\x0a\x03\x36" + found) in b"".join(pieces)


@given(st.binary(max_size=200).filter(lambda noise: b"\x0a" not in noise), st.integers(1, 70))
def test_a_reply_behind_noise_is_found_however_it_is_cut(noise: bytes, size: int) -> None:
    whole = noise + EXAMPLE
    assert heard(whole[at : at + size] for at in range(0, len(whole), size)) == EXAMPLE[3:-2]


@given(st.data())
def test_one_wrong_bit_is_never_taken(data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 59 * 8 - 1))
    spoiled = bytearray(EXAMPLE)
    spoiled[bit // 8] ^= 1 << bit % 8
    found = None
    with contextlib.suppress(ReplyError):
        found = heard([bytes(spoiled)])
    assert found is None


def test_a_flood_is_passed_over_in_time() -> None:
    """Much of what looks worst: frames' heads over and over."""
    started = time.process_time()
    flood = bytes.fromhex("0a 03 36") * 20_000
    reply, received = Reply(10, 27), bytearray()
    for at in range(0, len(flood), 1000):
        received += flood[at : at + 1000]
        with contextlib.suppress(ReplyError):
            assert reply(received) is None
    assert time.process_time() - started < 2
