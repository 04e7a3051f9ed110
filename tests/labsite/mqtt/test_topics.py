"""Labsite's own topics on a real broker: the present, retained, and nothing that is past."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from alerts.changes import Changes
from alerts.lifecycle import Event as Happening
from alerts.models import Alarm, Source
from devices import services
from devices.models import Channel, Instrument, Run
from labsite.mqtt import names, topics
from labsite.mqtt.present import Channel as Place, Instrument as Known, Present
from labsite.pages.standing import Now
from telemetry import partitions
from telemetry.models import Event
from tests import factories
from tests.alerts.factories import alarm
from tests.devices.mosquitto import needed
from tests.labsite.mqtt.kit import Ear, Mosquitto, Running, retained
from tests.telemetry.factories import NOW
from tests.waiting import until
from tests.web import notify, store

VERSIONS = pytest.mark.parametrize("version", ["3.1.1", "5"])
real = [needed, pytest.mark.django_db(transaction=True)]

BAD = 2
BATH = "labsite/local/Bath 1"
VALUE = f"{BATH}/ch0.temperature"


@pytest.fixture
def bath() -> Instrument:
    return factories.instrument("Bath 1", interval=1.0)


def channel(of: Instrument, key: str = "ch0.temperature") -> Channel:
    return of.channels.get(key=key)


def told(of: Channel, value: float | None, **fields: Any) -> None:
    store(of, value, **fields)
    notify()


def says(key: str, value: object) -> Callable[[str], bool]:
    return lambda said: json.loads(said)["channels"][key]["value"] == value


class TestOnABroker:
    pytestmark = real

    @VERSIONS
    def test_values_states_and_availability_are_told_and_retained(
        self, mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path, version: str
    ) -> None:
        store(channel(bath), 25.125)
        with Running(mosquitto.port, tmp_path, version=version):
            ear.until("labsite/status", "online")
            ear.until(VALUE, "25.125")
            state = ear.json(f"{BATH}/state")["channels"]["ch0.temperature"]
            assert (state["value"], state["unit"], state["quality"]) == (25.125, "°C", "good")
            ear.until(f"{BATH}/availability", "online")
            told(channel(bath), 26.5)
            ear.until(VALUE, "26.5", within=2)
            ear.until(f"{BATH}/state", says("ch0.temperature", 26.5))
            assert retained(mosquitto.port)[VALUE] == "26.5"
        ear.until("labsite/status", "offline")
        assert retained(mosquitto.port)["labsite/status"] == "offline"

    def test_what_cannot_be_read_has_no_value(
        self, mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path
    ) -> None:
        one, other = channel(bath), channel(bath, "ch1.temperature")
        store(one, 25.0)
        store(other, 30.0)
        with Running(mosquitto.port, tmp_path):
            ear.until(VALUE, "25.0")
            told(one, 25.0, quality=BAD, text="no reply")
            ear.until(VALUE, "")
            ear.until(f"{BATH}/state", says("ch0.temperature", None))
            assert ear.json(f"{BATH}/state")["channels"]["ch0.temperature"]["quality"] == "bad"
            ear.until(f"{BATH}/availability", "online")  # the other one is there
            told(other, 30.0, quality=BAD)
            ear.until(f"{BATH}/availability", "offline")
            assert VALUE not in {topic for topic, payload in retained(mosquitto.port).items() if payload}
            told(other, 31.0)
            ear.until(f"{BATH}/availability", "online")

    @VERSIONS
    def test_what_is_renamed_retired_or_moved_is_taken_back(
        self, mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path, version: str
    ) -> None:
        store(channel(bath), 25.0)
        with Running(mosquitto.port, tmp_path, version=version):
            ear.until(VALUE, "25.0")
            bath.name = "Bath/+#2"
            services.save_instrument(bath, by=services.OPERATOR)
            notify()
            ear.until("labsite/local/Bath%2F%2B%232/ch0.temperature", "25.0")
            for level in ("state", "availability", "alarms", "ch0.temperature"):
                ear.until(f"{BATH}/{level}", "")
            services.retire_instrument(bath, by=services.OPERATOR)
            notify()
            for level in ("state", "availability", "alarms", "ch0.temperature"):
                ear.until(f"labsite/local/Bath%2F%2B%232/{level}", "")
            until(lambda: not bath_topics(mosquitto.port), 3, "nothing of it is left")

    def test_what_went_while_the_bridge_was_away_is_taken_back_too(
        self, mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path
    ) -> None:
        store(channel(bath), 25.0)
        with Running(mosquitto.port, tmp_path):
            ear.until(VALUE, "25.0")
        bath.name = "Bath 2"
        services.save_instrument(bath, by=services.OPERATOR)
        with Running(mosquitto.port, tmp_path, prefix="lab/2"):
            ear.until("lab/2/local/Bath 2/ch0.temperature", "25.0")
            for topic in (VALUE, f"{BATH}/state", f"{BATH}/availability", "labsite/alarms"):
                ear.until(topic, "")

    def test_alarms_are_told_as_they_stand(
        self, mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path
    ) -> None:
        store(channel(bath), 31.5)
        with Running(mosquitto.port, tmp_path):
            ear.until(f"{BATH}/alarms", lambda said: json.loads(said)["standing"] == 0)
            raised = alarm(channel(bath))
            ear.until(f"{BATH}/alarms", lambda said: json.loads(said)["active"] == 1)
            [shown] = ear.json(f"{BATH}/alarms")["alarms"]
            assert shown["text"] == raised.text
            assert (shown["state"], shown["priority"]) == ("unacknowledged", "medium")
            assert (shown["channel"], shown["value"], shown["id"]) == ("ch0.temperature", 31.5, raised.pk)
            ear.until("labsite/alarms", lambda said: json.loads(said)["highest"] == "medium")
            happens(raised, Happening.CLEAR)
            ear.until(f"{BATH}/alarms", lambda said: json.loads(said)["active"] == 0)
            assert ear.json(f"{BATH}/alarms")["standing"] == 1  # nobody has acknowledged it
            happens(raised, Happening.ACKNOWLEDGE)
            ear.until(f"{BATH}/alarms", lambda said: json.loads(said)["alarms"] == [])

    def test_runs_are_retained_and_events_are_not(
        self, mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path
    ) -> None:
        now = timezone.now()
        happened(bath, "before anybody listened", now)
        run = Run.objects.create(
            instrument=bath,
            key="r1",
            kind="qpcr",
            title="Plate 7",
            state="running",
            progress=0.25,
            told_at=now,
        )
        with Running(mosquitto.port, tmp_path):
            ear.until(f"{BATH}/run", lambda said: json.loads(said)["progress"] == 0.25)
            ear.until("labsite/status", "online")
            happened(bath, "lid opened", timezone.now())
            happened(bath, "an hour ago, learnt now", timezone.now() - timedelta(hours=1))
            notify()
            said = ear.until(f"{BATH}/event", lambda said: said)
            assert json.loads(said)["text"] == "lid opened"
            Run.objects.filter(pk=run.pk).update(state="completed", progress=1.0, told_at=timezone.now())
            notify()
            ear.until(f"{BATH}/run", lambda said: json.loads(said)["state"] == "completed")
            assert ear.of(f"{BATH}/event") == [said]
            held = retained(mosquitto.port)
            assert f"{BATH}/run" in held
            assert f"{BATH}/event" not in held


@needed
@pytest.mark.django_db(transaction=True)
def test_of_a_channel_with_many_numbers_the_newest_are_told(
    mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path
) -> None:
    wells = Channel.objects.create(instrument=bath, key="wells", label="Wells", unit="V", kind="vector")
    with Running(mosquitto.port, tmp_path):
        ear.until("labsite/status", "online")
        measured(wells, [1.5, None, 3.0], ["A1", "A2", "A3"])
        told = {"values": [1.5, None, 3.0], "unit": "V", "labels": ["A1", "A2", "A3"]}
        ear.until(f"{BATH}/wells", lambda said: json.loads(said) == told)
        assert "wells" not in ear.json(f"{BATH}/state")["channels"]


def measured(channel: Channel, values: list[float | None], labels: list[str]) -> None:
    now = timezone.now()
    partitions.ensure([partitions.Partition("vector_sample", now.date())])
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO vector_sample (time, channel_id, quality, "values", labels)'
            " VALUES (%s, %s, 0, %s::float8[], %s::text[])",
            [now, channel.pk, values, labels],
        )
    told(channel, None, time=now, text="3 values")


def bath_topics(port: int) -> list[str]:
    return [topic for topic, payload in retained(port).items() if payload and "Bath" in topic]


def happened(of: Instrument, text: str, at: datetime) -> None:
    Event.objects.create(instrument=of, time=at, kind="run_action", text=text)


def happens(to: Alarm, event: Happening) -> None:
    """As a clock or a person would have it."""
    current = Alarm.objects.select_related("rule").get(pk=to.pk)
    current.active = current.held = False
    changes = Changes(timezone.now(), Source.INGEST)
    assert changes.move(current, event, timezone.now())
    changes.save()


@needed
@pytest.mark.django_db(transaction=True)
def test_a_flood_is_told_as_what_it_comes_to(
    mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path
) -> None:
    one = channel(bath)
    store(one, 0.0)
    with Running(mosquitto.port, tmp_path):
        ear.until(VALUE, "0.0")
        begun = datetime.now(UTC)
        for value in range(1, 201):
            told(one, float(value))
        ear.until(VALUE, "200.0")
        took = (datetime.now(UTC) - begun).total_seconds()
    assert len(ear.of(VALUE)) <= took / 0.2 + 3


@needed
@pytest.mark.django_db(transaction=True)
def test_status_tells_of_the_bridge(mosquitto: Mosquitto, ear: Ear, bath: Instrument, tmp_path: Path) -> None:
    api = factories.client(factories.person())

    def said() -> dict[str, Any]:
        processes = api.get("/api/v1/status/").json()["processes"]
        return next((each["said"] for each in processes if each["process"] == "mqtt"), {})

    with Running(mosquitto.port, tmp_path) as running:
        ear.until("labsite/status", "online")
        running.beat()
        until(lambda: said().get("state") == "connected", 5, "status/ tells it", every=0.1)
        assert said()["broker"] == f"mqtt://127.0.0.1:{mosquitto.port}"
        assert said()["topics"] > 30


# ---- without a broker


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("Bath 1", "Bath 1"),
        ("a/b", "a%2Fb"),
        ("50 % + #1", "50 %25 %2B %231"),
        ("nul\0l", "nul%00l"),
        ("tab\tend", "tab%09end"),
        ("Bädle", "Bädle"),
        ("", "%"),
    ],
)
def test_a_name_is_one_level_of_a_topic(name: str, level: str) -> None:
    assert names.level(name) == level


def test_two_names_never_share_a_topic() -> None:
    odd = ["a/b", "a%2Fb", "a+b", "a%2Bb", "a#b", "a b", "a%b", "a%25b"]
    assert len({names.level(name) for name in odd}) == len(odd)


@pytest.mark.parametrize("key", names.LEVELS)
def test_a_channel_never_stands_where_something_else_is_told(key: str) -> None:
    assert names.channel(key) != key
    assert names.channel(key)[3:] == key[1:]


@pytest.mark.parametrize(
    ("prefix", "may"),
    [
        ("labsite", True),
        ("lab/2", True),
        ("", False),
        ("a/+", False),
        ("#", False),
        ("$SYS", False),
        ("/a", False),
    ],
)
def test_what_topics_may_begin_with(prefix: str, may: bool) -> None:
    assert names.is_prefix(prefix) is may


def place(kind: str = "float") -> Place:
    return Place(1, "t", "t", "Cel", kind, None, None, None)


@pytest.mark.parametrize(
    ("kind", "value", "text", "quality", "plain"),
    [
        ("float", 21.5, None, 0, "21.5"),
        ("float", 21.5, None, 1, "21.5"),
        ("float", 21.5, "no reply", BAD, ""),
        ("float", 21.5, None, BAD | 16, ""),
        ("float", float("nan"), None, 0, ""),
        ("float", float("inf"), None, 0, ""),
        ("int", 7.0, None, 0, "7"),
        ("bool", 1.0, None, 0, "true"),
        ("bool", 0.0, None, 0, "false"),
        ("text", None, "online", 0, "online"),
        ("text", None, "online", BAD, ""),
    ],
)
def test_a_value_as_it_is_told(kind: str, value: float, text: str, quality: int, plain: str) -> None:
    assert topics.plain(place(kind), Now(1, 0, value, quality, text, 0)) == plain


@pytest.mark.parametrize(
    ("age", "in_service", "quality", "there"),
    [
        (0, True, 0, True),
        (13.0, True, 0, True),
        (13.1, True, 0, False),
        (0, False, 0, False),
        (0, True, BAD, False),
    ],
    ids=["just read", "three polls and a little ago", "longer ago", "out of service", "not connected"],
)
def test_who_answers_is_available(age: float, in_service: bool, quality: int, there: bool) -> None:
    present, known = Present(), Known("i", "Bath", "local", "thermostat", 1.0, in_service, (place(),))
    seen = round((NOW.timestamp() - age) * 1000)
    present.latest[1] = Now(1, seen, 21.5, quality, None, seen)
    assert topics.is_available(present, known, NOW) is there


def test_who_was_never_read_is_not_available() -> None:
    assert not topics.is_available(Present(), Known("i", "Bath", "local", "x", 1.0, True, (place(),)), NOW)
