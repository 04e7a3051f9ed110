"""What Prometheus is shown, of Labsite itself and of instruments; judged by promtool and the parsers."""

import subprocess
from collections.abc import Callable, Iterable
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from pytest_django import Settings

from devices.models import AccessToken, Edge, Heartbeat, Instrument, Latest
from telemetry.models import RollupMark, Sink
from tests.alerts.factories import alarm
from tests.telemetry.factories import edge, instrument

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
NAME = 'Bath "1"\\'


class Samples(dict[tuple[str, Iterable[str]], float]):
    """What was scraped, by name and label values in whatever order."""

    def __getitem__(self, key: tuple[str, Iterable[str]]) -> float:
        return super().__getitem__((key[0], frozenset(key[1])))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and super().__contains__((key[0], frozenset(key[1])))


@pytest.fixture(autouse=True)
def networks(settings: Settings) -> None:
    cache.clear()  # each test is a scraper of its own to the throttles
    settings.METRICS_NETWORKS = (ip_network("10.0.0.0/8"), ip_network("192.168.7.0/24"))


@pytest.fixture
def bath(db: None, broker: str) -> Instrument:
    bench = edge()
    said = {"spool_waiting": 3, "polls": 70, "lateness_p99": 5.0, "memory": 52.0, "refused": "no"}
    Edge.objects.filter(pk=bench.pk).update(heard_at=timezone.now(), status=said)
    return instrument(bench, NAME, keys=("t", "word", "lost"))


def read(bath: Instrument, key: str, value: float | None, quality: int = 0, text: str | None = None) -> None:
    """The channel's latest reading is 10 s old, and was stored 2 s later."""
    at = timezone.now() - timedelta(seconds=10)
    if text and not quality:
        bath.channels.filter(key=key).update(kind="text")
    Latest.objects.create(
        channel=bath.channels.get(key=key), time=at, value=value, quality=quality, text=text, seen_at=at,
        stored_at=at + timedelta(seconds=2),
    )  # fmt: skip


def scraped(path: str, accept: str = "", parse: Callable[[str], Iterable[Any]] = plain) -> Samples:
    """All samples by name and label values, as a scraper in the network sees them."""
    answer = Client(headers={"accept": accept}).get(path, REMOTE_ADDR="192.168.7.7")
    assert answer.status_code == 200, answer.content
    return Samples(
        ((sample.name, frozenset(sample.labels.values())), sample.value)
        for family in parse(answer.content.decode())
        for sample in family.samples
    )


@pytest.mark.parametrize(("accept", "parse"), [("", plain), (OPENMETRICS, openmetrics)], ids=["text", "open"])
def test_a_channel_is_shown_with_unit_quality_and_age(
    bath: Instrument, accept: str, parse: Callable[[str], Iterable[Any]]
) -> None:
    bath.channels.filter(key="t").update(unit="Cel")
    read(bath, "t", 21.5)
    read(bath, "word", None, text="Explore\n")
    read(bath, "lost", 7.0, quality=2, text="no answer")
    found = scraped("/metrics/instruments", accept, parse)
    of = (NAME, "bench", "thermostat")
    assert found["labsite_reading", (*of, "t", "°C")] == 21.5
    assert 9 < found["labsite_reading_age_seconds", (*of, "t", "°C")] < 60
    assert [
        found["labsite_reading_quality", (*of, key, unit)] for key, unit in (("t", "°C"), ("lost", ""))
    ] == [0, 2]
    assert ("labsite_reading", (*of, "lost", "")) not in found
    assert found["labsite_reading_text", (*of, "word", "", "Explore\n")] == 1
    assert found["labsite_instrument_interval_seconds", of] == bath.interval


@pytest.mark.parametrize(
    ("fields", "quality", "connected"),
    [({}, 0, 1), ({}, 2, 0), ({"in_service": False}, 0, 0)],
    ids=["answers", "all bad", "out of service"],
)
def test_an_instrument_is_connected_while_it_answers(
    bath: Instrument, fields: dict[str, Any], quality: int, connected: int
) -> None:
    Instrument.objects.filter(pk=bath.pk).update(interval=60.0, **fields)
    read(bath, "t", 21.5, quality)
    found = scraped("/metrics/instruments")
    assert found["labsite_instrument_connected", (NAME, "bench", "thermostat")] == connected


def test_labsite_tells_of_its_processes_edges_queues_store_sinks_and_alarms(bath: Instrument) -> None:
    now = timezone.now()
    read(bath, "t", 21.5)
    Heartbeat.objects.create(process="ingest", at=now, fields={"readings": 12, "batches": 2})
    RollupMark.objects.create(width="minute", closing=now, published=now - timedelta(seconds=70))
    Sink.objects.create(
        name="dash", url="http://127.0.0.1:1", bucket="lab", at_time=now - timedelta(seconds=5), failures=2
    )
    alarm(bath.channels.all()[0])
    found = scraped("/metrics/labsite")
    assert found["labsite_ingest_total", ("readings",)] == 12
    assert found["labsite_process_age_seconds", ("ingest",)] < 60
    assert found["labsite_edge_spool_batches", ("bench",)] == 3
    assert found["labsite_edge_polls_total", ("bench",)] == 70
    assert found["labsite_edge_lateness_seconds", ("bench", "99")] == 0.005
    assert found["labsite_edge_memory_bytes", ("bench",)] == 52 * (1 << 20)
    assert found["labsite_queue_messages", ("edge.bench",)] == 0
    assert 69 < found["labsite_rollup_behind_seconds", ("minute",)] < 130
    assert found["labsite_reading_lateness_seconds", ("99",)] == 2.0
    assert found["labsite_sink_failures", ("dash",)] == 2
    assert 4 < found["labsite_sink_behind_seconds", ("dash",)] < 60
    assert sum(value for (name, _), value in found.items() if name == "labsite_alarms_unacknowledged") == 1
    assert found["labsite_database_bytes", ()] > 0
    assert not any(name.startswith("labsite_reading") and "t" in labels for name, labels in found)


def test_both_halves_are_one_and_can_be_narrowed_to_instruments(bath: Instrument) -> None:
    other = instrument(bath.edge, "other", keys=("t",))
    Instrument.objects.filter(pk=other.pk).update(tags=["room-1", "x"])
    read(bath, "t", 1.0)
    read(other, "t", 2.0)

    def shown(query: str) -> set[str]:
        found = scraped(f"/metrics{query}")
        assert ("labsite_database_bytes", ()) in found
        return {
            name
            for each, labels in found
            if each == "labsite_reading"
            for name in {NAME, "other"}.intersection(labels)
        }

    assert shown("") == shown("?edge=bench") == {NAME, "other"}
    assert shown("?tag=room-1") == shown("?instrument=other") == {"other"}
    assert shown("?driver=bme280") == set()


def test_promtool_finds_nothing_wrong(bath: Instrument) -> None:
    read(bath, "t", 21.5)
    read(bath, "word", None, text="on")
    alarm(bath.channels.all()[0])
    Heartbeat.objects.create(process="ingest", at=timezone.now(), fields={"readings": 12})
    text = Client().get("/metrics", REMOTE_ADDR="10.1.1.1").content
    told = subprocess.run(
        ["promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        check=False,
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


@pytest.mark.parametrize("path", ["/metrics", "/metrics/labsite", "/metrics/instruments"])
def test_nobody_else_may_scrape(db: None, path: str, settings: Settings) -> None:
    refused = [
        Client().get(path, REMOTE_ADDR=address).status_code for address in ("127.0.0.1", "192.168.8.1", "")
    ]
    assert refused == [401, 401, 401]
    forwarded = Client().get(path, REMOTE_ADDR="127.0.0.1", headers={"x-forwarded-for": "10.0.0.1"})
    assert forwarded.status_code == 401
    settings.METRICS_NETWORKS = ()
    assert Client().get(path, REMOTE_ADDR="10.0.0.1").status_code == 401


@pytest.mark.parametrize(("scope", "code"), [("read", 200), ("", 200), ("push", 403)])
def test_a_token_that_may_read_may_scrape(bath: Instrument, scope: str, code: int) -> None:
    user = User.objects.create_user("prometheus")
    _token, text = AccessToken.objects.create(user, None, scope=scope)
    headers = {"authorization": f"Bearer {text}", "accept": OPENMETRICS}
    assert Client(headers=headers).get("/metrics").status_code == code


def test_a_wrong_question_is_named(bath: Instrument) -> None:
    answer = Client().get("/metrics?edges=bench", REMOTE_ADDR="10.0.0.1")
    assert (answer.status_code, list(answer.json())) == (400, ["edges"])
