"""MQTT topics as channels: what payloads mean, and what a real broker does when connections break."""

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from paho.mqtt.client import MQTTMessage

from devices import links
from devices.drivers.mqtt_in import DELIVERIES_REMEMBERED, MqttIn
from devices.drivers.mqtt_in_payload import Payload, time_of, value_of
from devices.errors import ConfigurationError, LinkError
from devices.links.mqtt import MqttLink
from devices.readings import Event, Quality, Reading, Said, Vector
from tests.devices import mosquitto
from tests.devices.links.test_mqtt import VERSIONS, publish
from tests.devices.mosquitto import Broker, until

CHANNELS = [
    {"key": "plain", "topic": "lab/plain", "unit": "Cel", "scale": 0.1},
    {"key": "inner", "topic": "lab/json", "path": "sensors[0].value"},
    {"key": "words", "topic": "lab/json", "path": "state", "kind": "text"},
    {"key": "any", "topic": "lab/+/door", "kind": "bool"},
]
SECOND = 1_000_000


class Ear:
    """What a driver tells."""

    def __init__(self) -> None:
        self.said: list[Said] = []

    def __call__(self, said: Iterable[Said]) -> None:
        self.said += said

    @property
    def readings(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for one in self.said:
            if isinstance(one, Reading):
                found.setdefault(one.key, []).append(one.value)
        return found

    @property
    def events(self) -> list[str]:
        return [one.kind for one in self.said if isinstance(one, Event)]


@asynccontextmanager
async def listening(
    broker: Broker, memory: dict[str, Any] | None = None, ear: Ear | None = None, **options: Any
) -> AsyncIterator[tuple[MqttIn, Ear]]:
    """The driver as a session has it; the same `memory` is the next session of the same instrument."""
    options = {"channels": CHANNELS, **options}
    settings = MqttIn.link_settings(MqttIn.checked_options(options))
    link = await links.connect(links.check(f"mqtt://127.0.0.1:{broker.port}"), 3.0, settings)
    driver, ear = MqttIn(link, options), ear or Ear()
    driver.memory, driver.tell = {} if memory is None else memory, ear
    try:
        await driver.open()
        assert await driver.read() == []
        yield driver, ear
        await driver.close()
    finally:
        await link.close()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with mosquitto.serving(tmp_path) as broker:
        yield broker


# ---- with a broker


@mosquitto.needed
@VERSIONS
async def test_messages_are_told_at_once(broker: Broker, version: str) -> None:
    async with listening(broker, version=version) as (_, ear):
        await publish(broker, "lab/plain", b"215")
        await publish(broker, "lab/json", json.dumps({"sensors": [{"value": 7}], "state": "on"}).encode())
        await publish(broker, "lab/2/door", b"open")
        await publish(broker, "lab/2/window", b"open")
        await publish(broker, "lab/3/door", b"closed")
        await until(lambda: len(ear.readings.get("any", [])) == 2)
        assert ear.readings == {"plain": [21.5], "inner": [7.0], "words": ["on"], "any": [True, False]}


@mosquitto.needed
@VERSIONS
async def test_no_message_is_lost_nor_doubled_while_the_edge_is_away(broker: Broker, version: str) -> None:
    memory: dict[str, Any] = {}
    ear = Ear()
    for number in range(6):
        async with listening(broker, memory, ear, version=version):
            await publish(broker, "lab/plain", b"%d" % (20 * number))
            await until(lambda: len(ear.readings.get("plain", [])) == 2 * number + 1)  # noqa: B023
        await publish(broker, "lab/plain", b"%d" % (20 * number + 10))
    async with listening(broker, memory, ear, version=version):
        await until(lambda: len(ear.readings["plain"]) == 12)
        await asyncio.sleep(0.05)  # nothing tells this side that no more comes
    assert ear.readings["plain"] == [pytest.approx(float(number)) for number in range(12)]
    assert ear.events == []


@mosquitto.needed
async def test_a_broker_that_starts_again_has_kept_it_all(broker: Broker) -> None:
    memory: dict[str, Any] = {}
    async with listening(broker, memory) as (driver, _):
        await broker.stop()
        await until(lambda: driver.link.lost is not None)
        with pytest.raises(LinkError):
            await driver.read()
    await broker.start()
    await publish(broker, "lab/plain", b"10")
    async with listening(broker, memory) as (_, ear):
        await until(lambda: ear.readings == {"plain": [1.0]})
        assert ear.events == []


@mosquitto.needed
async def test_a_session_that_the_broker_forgot_is_an_event(broker: Broker, tmp_path: Path) -> None:
    memory: dict[str, Any] = {}
    async with listening(broker, memory):
        pass
    await broker.stop()
    (tmp_path / "mosquitto.db").unlink(missing_ok=True)
    await broker.start()
    async with listening(broker, memory) as (_, ear):
        assert ear.events == ["mqtt_session_lost"]


@mosquitto.needed
@pytest.mark.parametrize(
    ("retained", "told"),
    [("state", [1.0, 1.0, 2.0]), ("changed", [1.0, 2.0]), ("ignored", [])],
)
@VERSIONS
async def test_what_is_retained_is_told_as_the_option_says(
    broker: Broker, retained: str, told: list[float], version: str
) -> None:
    memory: dict[str, Any] = {}
    ear = Ear()
    for payload in (b"10", b"10", b"20"):
        await publish(broker, "lab/plain", payload, retain=True)
        async with listening(broker, memory, ear, retained=retained, expiry=0, version=version):
            await publish(broker, "lab/json", b'{"state": "after"}')
            await until(lambda: "words" in ear.readings)
        ear.said = [one for one in ear.said if isinstance(one, Reading) and one.key == "plain"]
    assert ear.readings.get("plain", []) == told


@mosquitto.needed
@VERSIONS
async def test_what_came_while_away_is_not_told_again_as_retained(broker: Broker, version: str) -> None:
    memory: dict[str, Any] = {}
    async with listening(broker, memory, version=version):
        pass
    await publish(broker, "lab/plain", b"10", retain=True)
    async with listening(broker, memory, version=version) as (_, ear):
        await publish(broker, "lab/json", b'{"state": "after"}')
        await until(lambda: "words" in ear.readings)
        assert ear.readings["plain"] == [1.0]


@mosquitto.needed
async def test_who_tries_the_connection_takes_nothing_from_the_session(broker: Broker) -> None:
    await publish(broker, "lab/plain", b"10", retain=True)
    async with listening(broker) as (driver, ear):
        await until(lambda: ear.readings == {"plain": [1.0]})
        async with listening(broker) as (_, other):
            await until(lambda: other.readings == {"plain": [1.0]})
        assert await driver.read() == []
        await publish(broker, "lab/plain", b"20")
        await until(lambda: ear.readings == {"plain": [1.0, 2.0]})


@mosquitto.needed
async def test_a_topic_that_is_refused_costs_no_other(tmp_path: Path, broker: Broker) -> None:
    async with listening(broker) as (driver, ear):

        async def refusing(topics: list[str]) -> dict[str, str]:
            return {"lab/plain": "Not authorized"}

        driver.link.subscribe = refusing  # type: ignore[assignment, method-assign]
        await driver.open()
        assert Reading("plain", None, Quality.BAD) in ear.said
        assert ear.events == ["mqtt_refused"]


@mosquitto.needed
async def test_a_burst_is_told_whole_and_in_order(broker: Broker) -> None:
    async with listening(broker) as (driver, ear):
        client = driver.link._client
        assert client is not None
        for number in range(1_000):
            client.publish("lab/plain", b"%d" % number, qos=1)
        await until(lambda: len(ear.readings.get("plain", [])) == 1_000)
        assert ear.readings["plain"] == [pytest.approx(number / 10) for number in range(1_000)]
        assert len(driver.memory["delivered"]) <= DELIVERIES_REMEMBERED


# ---- without one


def driver(**options: Any) -> tuple[MqttIn, Ear]:
    """A driver that hears what a test hands to it."""
    made = MqttIn(MqttLink.__new__(MqttLink), {"channels": CHANNELS, **options})
    ear = Ear()
    made.tell = ear
    return made, ear


def message(
    topic: str, payload: bytes, mid: int = 0, *, dup: bool = False, retain: bool = False
) -> MQTTMessage:
    made = MQTTMessage(mid, topic.encode())
    made.payload, made.qos, made.dup, made.retain = payload, 1, dup, retain
    return made


async def test_what_is_delivered_twice_is_told_once() -> None:
    made, ear = driver()
    made._hear(message("lab/plain", b"10", 7))
    made._hear(message("lab/plain", b"10", 7, dup=True))
    made._hear(message("lab/plain", b"20", 7))  # the number is used again, for another
    made._hear(message("lab/plain", b"20", 8, dup=True))  # an acknowledgement got lost before it was told
    assert ear.readings == {"plain": [1.0, 2.0, 2.0]}


async def test_what_was_forgotten_is_bounded() -> None:
    made, _ = driver()
    for number in range(3 * DELIVERIES_REMEMBERED):
        made._hear(message(f"lab/{number}/door", b"1", number))
    assert len(made.memory["delivered"]) == DELIVERIES_REMEMBERED


async def test_a_message_without_a_word_on_a_channel_says_nothing_of_it() -> None:
    made, ear = driver()
    made._hear(message("lab/json", b'{"state": "on"}'))
    made._hear(message("lab/json", b'{"sensors": [], "state": null}'))
    made._hear(message("lab/json", b""))  # how a retained message is taken back
    assert ear.readings == {"words": ["on"]}


async def test_a_message_that_cannot_be_understood_makes_bad_readings() -> None:
    made, ear = driver()
    made._hear(message("lab/plain", b"warm"))
    made._hear(message("lab/json", b'{"sensors": [{"value": 1'))
    assert {one.key for one in ear.said if isinstance(one, Reading)} == {"plain", "inner", "words"}
    assert all(one.quality is Quality.BAD for one in ear.said if isinstance(one, Reading))


async def test_a_channel_that_is_silent_for_too_long_is_bad_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = driver(silent_after=10.0)
    monkeypatch.setattr(MqttLink, "check_alive", lambda self: None)
    loop = asyncio.get_running_loop()
    start = loop.time()
    now = start
    monkeypatch.setattr(loop, "time", lambda: now)
    assert await made.read() == []
    now = start + 5
    made._hear(message("lab/plain", b"10"))
    now = start + 11
    assert {reading.key for reading in await made.read()} == {"inner", "words", "any"}
    assert await made.read() == []
    now = start + 16
    assert await made.read() == [Reading("plain", None, Quality.BAD)]
    made._hear(message("lab/plain", b"10"))
    now = start + 27
    assert await made.read() == [Reading("plain", None, Quality.BAD)]


async def test_a_message_may_bring_its_own_time() -> None:
    made, ear = driver(channels=[{"key": "t", "topic": "a", "path": "v", "time": "at"}])
    made._hear(message("a", b'{"v": 1, "at": "2026-03-04T05:06:07.5Z"}'))
    made._hear(message("a", b'{"v": 2, "at": "yesterday"}'))
    assert ear.said == [
        Reading("t", 1.0, Quality.GOOD, 1_772_600_767_500_000),
        Reading("t", 2.0, Quality.GOOD, None),
    ]


@pytest.mark.parametrize(
    ("found", "time"),
    [
        (1_700_000_000, 1_700_000_000 * SECOND),
        (1_700_000_000.25, 1_700_000_000_250_000),
        ("1700000000", 1_700_000_000 * SECOND),
        (1_700_000_000_123, 1_700_000_000_123_000),
        (1_700_000_000_123_456, 1_700_000_000_123_456),
        ("2023-11-14T22:13:20", 1_700_000_000 * SECOND),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000 * SECOND),
        (0, None), (-5, None), (True, None), (None, None), ("", None), ("x", None), ([], None), (1e300, None),
    ],
)  # fmt: skip
def test_times_are_told_by_their_size_or_form(found: Any, time: int | None) -> None:
    assert time_of(found) == time


@pytest.mark.parametrize(
    ("payload", "path", "kind", "value"),
    [
        (b"21.5", "", "float", 21.5),
        (b" -1.5e3\n", "", "float", -1_500.0),
        (b"21.5 C", "", "float", None),
        (b"nan", "", "float", None),
        (b"true", "@", "float", 1.0),
        (b"1e999", "", "float", None),
        (b"7", "", "int", 7),
        (b"7.5", "", "int", None),
        (b"1e30", "", "int", None),
        (b"ON", "", "bool", True),
        (b"0.0", "", "bool", False),
        (b"maybe", "", "bool", None),
        (b"\xff\xfe", "", "text", "��"),
        (b'{"a": {"b": 1}}', "a", "text", '{"b": 1}'),
        (b"[1, 2.5, null]", "@", "vector", Vector((1.0, 2.5, None))),
        (b"1,2,x", "", "vector", Vector((1.0, 2.0, None))),
        (b"{}", "@", "vector", None),
        (b'{"a": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}', "a[?n=='y'].v | [0]", "float", 2.0),
        (b'{"a": "3"}', "to_number(a)", "float", 3.0),
        (b'{"a": [1]}', "abs(a)", "float", None),
        (b"[" * 50_000, "a", "float", None),
    ],
)
def test_payloads_mean_what_the_channel_is(payload: bytes, path: str, kind: str, value: Any) -> None:
    assert value_of(Payload(payload).find(path), kind, 1.0, 0.0) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
payloads = st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode())


@given(
    payloads,
    st.sampled_from(["float", "int", "bool", "text", "vector"]),
    st.sampled_from(["", "@", "a", "[0]"]),
)
def test_no_payload_raises(payload: bytes, kind: str, path: str) -> None:
    value = value_of(Payload(payload).find(path), kind, 2.0, 1.0)
    assert value is None or not isinstance(value, float) or math.isfinite(value)


@given(json_values)
def test_no_time_raises(found: Any) -> None:
    time = time_of(found)
    assert time is None or 0 < time < 2**63


@given(st.binary(max_size=40), payloads, st.integers(0, 65_535), st.booleans(), st.booleans())
async def test_no_message_raises(topic: bytes, payload: bytes, mid: int, dup: bool, retain: bool) -> None:
    made, _ = driver(channels=[*CHANNELS, {"key": "all", "topic": "#", "path": "@", "time": "@"}])
    heard = message("x", payload, mid, dup=dup, retain=retain)
    heard._topic = topic
    made._hear(heard)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channels": []}, "declare at least one"),
        ({"channels": [{"key": "a"}]}, r"row 1 \(a\): topic is missing"),
        ({"channels": [{"key": "a", "topic": ""}]}, "1 to 1000 printable"),
        ({"channels": [{"key": "a", "topic": "a/#/b"}]}, "# for all that follow"),
        ({"channels": [{"key": "a", "topic": "a+/b"}]}, "one whole level"),
        ({"channels": [{"key": "a", "topic": "$share/g/a"}]}, "shared subscription"),
        ({"channels": [{"key": "{device}", "topic": "+/t"}]}, "letters, digits"),
        ({"channels": [{"key": "a", "topic": "a", "path": "b["}]}, "no JMESPath"),
        ({"channels": [{"key": "a", "topic": "a", "pth": "b"}]}, "did you mean path"),
        ({"channels": [{"key": "a", "topic": "a"}, {"key": "a", "topic": "b"}]}, "stands twice"),
        ({"pin": "abc"}, "64 hexadecimal digits"),
        ({"password": {"secret": "BROKER"}}, "no user"),
        ({"version": "4"}, "none of 5, 3.1.1"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        MqttIn.checked_options({"channels": CHANNELS, **options})


@mosquitto.needed
async def test_no_password_is_in_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with mosquitto.serving(tmp_path) as broker:
        options = {"channels": CHANNELS, "user": "edge", "password": {"secret": "BROKER"}}
        link = await links.connect(
            links.check(f"mqtt://127.0.0.1:{broker.port}"),
            3.0,
            MqttIn.link_settings(MqttIn.checked_options(options)),
        )
        made = MqttIn(link, options)
        made.secrets = {"password": "hush-hush"}
        await made.open()
        await link.close()
    assert "hush" not in caplog.text
