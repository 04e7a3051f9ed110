"""The replaced UPS program's topics: what its clients have read stays where and as it was."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from devices.drivers.must_ep20 import status_readings
from devices.models import Instrument
from devices.readings import Quality
from labsite.mqtt import ups
from labsite.mqtt.ups import CLIENT_ID, TOPIC
from labsite.replaced import ups_fields
from telemetry.models import ReplacedInterface
from tests import factories
from tests.alerts.factories import alarm
from tests.devices.mosquitto import needed
from tests.labsite.mqtt.kit import Ear, Mosquitto, Running, retained
from tests.web import notify, store

STATUS = "ups/availability"
# Real replies of a 1000 W unit, and made ones: must-ups.md, 5.
MAINS = (
    "00028e320004000c03e808b601f408b401f4000d00ac012b001100000087"
    "001000000064002000000000000000000002000100010001"
)
BATTERY = (
    "00028e320003000c03e80000000008a101f40007007200ac000b0000007b"
    "ffaa00000034002000020000000000000000000000010001"
)
HOT = (
    "000041460004000c03e808d001f508c801f50026032a0366005100010088"
    "001000000064002900000000000000040002000100010001"
)


def registers(words: str) -> list[int]:
    block = bytes.fromhex(words)
    assert len(block) == 54
    return [int.from_bytes(block[at : at + 2], "big") for at in range(0, 54, 2)]


@transaction.atomic  # as ingest stores it
def polled(of: Instrument, words: str, at: datetime | None = None) -> datetime:
    """As after a poll that brought these registers."""
    at = at or timezone.now()
    channels = {channel.key: channel for channel in of.channels.all()}
    for reading in status_readings(registers(words)):
        text = reading.value if isinstance(reading.value, str) else None
        value = None if text is not None or reading.value is None else float(reading.value)  # type: ignore[arg-type]
        quality = int(reading.quality)
        store(channels[reading.key], value, text=text, quality=quality, time=at, seen_at=at)
    notify()
    return at


@transaction.atomic
def lost(of: Instrument) -> None:
    """As when the UPS has been pulled out."""
    for channel in of.channels.all():
        store(channel, None, quality=int(Quality.BAD))
    notify()


@pytest.fixture
def rack() -> Instrument:
    fields = {"driver": "must_ep20", "address": "serial:///dev/ttyUSB0", "interval": 2.0}
    return factories.instrument("UPS rack A", **fields)


def switch_on(of: Instrument, topic: str = TOPIC) -> ReplacedInterface:
    return ReplacedInterface.objects.create(
        instrument=of, kind="ups", enabled=True, options={ups_fields.TOPIC: topic}
    )


def told(ear: Ear, count: int = 1) -> list[dict[str, Any]]:
    ear.until(TOPIC, lambda _said: len(ear.of(TOPIC)) >= count)
    return [json.loads(payload) for payload in ear.of(TOPIC)]


@needed
@pytest.mark.django_db(transaction=True)
def test_each_poll_is_told_with_the_programs_fields(
    mosquitto: Mosquitto, ear: Ear, rack: Instrument, tmp_path: Path
) -> None:
    switch_on(rack)
    first = polled(rack, MAINS)
    with Running(mosquitto.port, tmp_path):
        ear.until(STATUS, "online")
        polled(rack, MAINS)
        found = told(ear)[-1]
        assert list(found) == [*ups_fields.FIELDS, "alarms"]
        uptime, timestamp = found.pop("uptime"), found.pop("timestamp")
        assert found == {
            "input_voltage": 223.0,
            "output_voltage": 222.8,
            "battery_voltage": 13.5,
            "battery_level": 100,
            "load_percent": 17,
            "load_power": 172,
            "frequency": 50.0,
            "input_frequency": 50.0,
            "temperature": 32.0,
            "status": "online",
            "alarms": [],
        }
        assert [type(found[key]) for key in ups_fields.INTS] == [int] * 3
        assert [type(found[key]) for key in ups_fields.FLOATS] == [float] * 6
        assert uptime.startswith("00:00:")
        assert abs((datetime.fromisoformat(timestamp) - local(first)).total_seconds()) < 10
        polled(rack, BATTERY)
        ear.until(TOPIC, lambda said: json.loads(said)["status"] == "battery")
        last = told(ear)[-1]
        assert (last["input_voltage"], last["input_frequency"], last["frequency"]) == (0.0, 0.0, 50.0)
        assert last["alarms"] == []  # without mains there is no low voltage
        polled(rack, HOT)
        ear.until(TOPIC, lambda said: json.loads(said)["temperature"] == 41.0)
        hot = [ups_fields.HIGH_TEMPERATURE, ups_fields.HIGH_LOAD, "alarm: overload"]
        assert told(ear)[-1]["alarms"] == hot
        own = alarm(rack, text="UPS rack A: fan")
        polled(rack, MAINS)
        ear.until(TOPIC, lambda said: json.loads(said)["alarms"] == [own.text])
    held = retained(mosquitto.port)
    assert TOPIC not in held
    assert held[STATUS] == "offline"


def local(moment: datetime) -> datetime:
    return moment.astimezone(ups_fields.machine_zone()).replace(tzinfo=None)


@needed
@pytest.mark.django_db(transaction=True)
def test_a_poll_without_an_answer_is_not_told(
    mosquitto: Mosquitto, ear: Ear, rack: Instrument, tmp_path: Path
) -> None:
    switch_on(rack)
    with Running(mosquitto.port, tmp_path):
        ear.until(STATUS, "offline")
        polled(rack, MAINS)
        ear.until(STATUS, "online")
        polled(rack, HOT)
        ear.until(TOPIC, lambda said: json.loads(said)["temperature"] == 41.0)
        before = len(told(ear))
        lost(rack)
        ear.until(STATUS, "offline")
        ear.until("labsite/local/UPS rack A/availability", "offline")
        assert len(ear.of(TOPIC)) == before
        polled(rack, MAINS)
        ear.until(STATUS, "online")
        told(ear, before + 1)


@needed
@pytest.mark.django_db(transaction=True)
def test_it_is_switched_off_on_and_over_while_the_bridge_runs(
    mosquitto: Mosquitto, ear: Ear, rack: Instrument, tmp_path: Path
) -> None:
    polled(rack, MAINS)
    with Running(mosquitto.port, tmp_path):
        ear.until("labsite/local/UPS rack A/availability", "online")
        assert STATUS not in ear.last
        interface = switch_on(rack)
        ear.until(STATUS, "online")
        interface.enabled = False
        interface.save()
        ear.until(STATUS, "offline")
        interface.enabled, interface.options = True, {ups_fields.TOPIC: "cellar/ups/telemetry"}
        interface.save()
        ear.until("cellar/ups/availability", "online")
        polled(rack, MAINS)
        ear.until("cellar/ups/telemetry", lambda said: json.loads(said)["status"] == "online")


def test_its_topics_are_those_of_the_program() -> None:
    assert ups.availability(TOPIC) == STATUS
    assert ups.availability("ups") == "ups/availability"
    assert ups.client_id(TOPIC) == CLIENT_ID == "ups_monitor"
    assert ups.client_id("other/telemetry") not in (CLIENT_ID, ups.client_id("third/telemetry"))


@pytest.mark.parametrize(
    ("values", "alarms"),
    [
        ({"input_voltage": 180.0, "battery_level": 20.0, "temperature": 40.0, "load_percent": 80.0}, []),
        ({"input_voltage": 179.9}, [ups_fields.LOW_INPUT]),
        ({"input_voltage": 0.0}, []),
        ({"input_voltage": None}, []),
        ({"battery_level": 19.0}, [ups_fields.LOW_BATTERY]),
        ({"battery_level": 0.0}, [ups_fields.LOW_BATTERY]),
        ({"temperature": 41.0}, [ups_fields.HIGH_TEMPERATURE]),
        ({"load_percent": 81.0}, [ups_fields.HIGH_LOAD]),
        ({"fault": "fault 7: overload"}, ["fault 7: overload"]),
        ({"fault": "none", "alarm.battery_low": True}, ["alarm: battery voltage low"]),
    ],
)
def test_alarms_in_the_programs_words(values: dict[str, Any], alarms: list[str]) -> None:
    assert ups_fields.alarms(values) == alarms


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "00:00:00"), (3661.9, "01:01:01"), (100 * 3600, "100:00:00")]
)
def test_hours_of_the_uptime_go_on_past_a_day(seconds: float, shown: str) -> None:
    assert ups_fields.clock(seconds) == shown
