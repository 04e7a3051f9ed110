"""Sinks are fed: real servers of both kinds, what they answer, and what becomes of points then."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from devices.models import Instrument
from devices.services import OPERATOR
from telemetry import outbox
from telemetry.models import SetAside, Sink
from telemetry.sinks import client, editing, standing
from telemetry.sinks.drain import Drain, Next
from tests.telemetry import factories
from tests.telemetry.sinks.factories import sink, stored
from tests.telemetry.sinks.servers import (
    Answer,
    Influx,
    Scripted,
    Victoria,
    each,
    needs_influxd,
    needs_victoria,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bath() -> Instrument:
    return factories.instrument(factories.edge())


def drained(of: Sink, drain: Drain | None = None) -> Sink:
    """The sink, fed until there is nothing more, or until it has to wait after a failure."""
    drain = drain or Drain(of.pk)
    following: Next | None = Next(at_once=True)
    while following is not None and following != Next():
        following = drain.step(timezone.now())
        of.refresh_from_db()
        if of.failures:
            break
    drain.close()
    return of


@needs_influxd
def test_influxdb_1_by_its_own_interface(influx: Influx, bath: Instrument) -> None:
    copy = sink(influx.url, api="v1", bucket="first")
    since = stored(bath, "a", [1.5, None, 3.25])
    assert drained(copy).failures == 0, copy.error
    rows = influx.ask("SELECT * FROM thermostat", "first")  # the database was made
    assert [(row["time"], row["value"], row["quality"]) for row in rows] == [
        (since * 1000, 1.5, 0),
        (since * 1000 + 1_000_000, None, 0),
        (since * 1000 + 2_000_000, 3.25, 0),
    ]
    assert {(row["instrument"], row["channel"]) for row in rows} == {("bath", "a")}
    assert copy.points == 3
    assert standing.backlogs([copy])[copy.pk].rows == 0


@needs_victoria
@pytest.mark.parametrize("gzip", [True, False])
def test_interface_2(victoria: Victoria, bath: Instrument, gzip: bool) -> None:
    bath.name = f"bath {gzip}"
    bath.save()
    copy = sink(victoria.url, org="lab", gzip=gzip, batch_size=7)
    since = stored(bath, "a", [number / 8 for number in range(100)])
    assert drained(copy).failures == 0, copy.error
    found = victoria.series(f'thermostat_value{{instrument="bath {gzip}"}}')
    assert found == {
        ("thermostat_value", f"bath {gzip}", "a"): {since // 1000 + n: n / 8 for n in range(100)}
    }


@needs_influxd
def test_a_name_that_changes_counts_from_then_on(influx: Influx, bath: Instrument) -> None:
    copy = sink(influx.url, api="v1", bucket="names")
    drain = Drain(copy.pk)
    stored(bath, "a", [1.0])
    drain.step(timezone.now())
    bath.name = "Bath, “new” = 2"
    bath.save()
    drain._directory._until = 0.0  # five seconds later
    stored(bath, "a", [2.0])
    drained(copy, drain)
    rows = influx.ask("SELECT value, instrument FROM thermostat", "names")
    assert {(row["value"], row["instrument"]) for row in rows} == {(1.0, "bath"), (2.0, "Bath, “new” = 2")}


@needs_influxd
def test_a_conflict_of_types_sets_aside_only_the_points_that_have_it(
    influx: Influx, bath: Instrument
) -> None:
    copy = sink(influx.url, api="v1", bucket="types")
    stored(bath, "a", [1.0])
    drained(copy)
    # Of another measurement, in which `value` is a text already, as somebody else wrote it there.
    copy.measurement = "theirs"
    editing.save_sink(copy, OPERATOR)
    answer = client.Client(copy).write([f'theirs,by=them value="hot" {time.time_ns()}'])
    assert answer.verdict.value == "accepted"
    stored(bath, "a", [2.0, None, 3.0])
    assert drained(copy).failures == 0, copy.error
    rows = influx.ask("SELECT quality, value FROM theirs", "types")
    assert [row["quality"] for row in rows if row["quality"] is not None] == [0]  # that without a number
    refused = list(SetAside.objects.filter(sink=copy).order_by("id"))
    assert [each.line.split(" ")[1] for each in refused] == ["quality=0i,value=2", "quality=0i,value=3"]
    assert all("field type conflict" in each.reason for each in refused)
    assert copy.points == 1 + 1


@needs_influxd
def test_a_body_too_large_goes_in_halves(tmp_path: Path, bath: Instrument) -> None:
    with Influx(tmp_path, http="max-body-size = 2000").start() as small:
        copy = sink(small.url, api="v1", gzip=False)
        stored(bath, "a", [float(number) for number in range(300)])
        assert drained(copy).failures == 0, copy.error
        assert small.count() == 300
        assert copy.points == 300
        assert not SetAside.objects.exists()


@needs_influxd
def test_what_is_older_than_the_server_keeps_is_set_aside(influx: Influx, bath: Instrument) -> None:
    influx.ask("CREATE DATABASE short WITH DURATION 1h", "")
    copy = sink(influx.url, api="v1", bucket="short")
    now = round(time.time() * 1_000_000)
    stored(bath, "a", [1.0, 2.0, 3.0], since=now - 7200_000_000)
    stored(bath, "a", [4.0], since=now - 60_000_000)
    assert drained(copy).failures == 0, copy.error
    assert [row["value"] for row in influx.ask("SELECT value FROM thermostat", "short")] == [4.0]
    assert SetAside.objects.filter(reason__contains="beyond retention policy").count() == 3


@needs_influxd
def test_credentials_and_rights(
    tmp_path: Path, bath: Instrument, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Influx(tmp_path, http="auth-enabled = true", user="root", password="w0rd").start() as closed:
        closed.ask("CREATE USER root WITH PASSWORD 'w0rd' WITH ALL PRIVILEGES", "", anonymous=True)
        closed.ask("CREATE DATABASE lab", "")
        closed.ask("CREATE USER joe WITH PASSWORD 'secret5'", "")
        copy = sink(closed.url, api="v1", user="joe", secret="INFLUX")
        stored(bath, "a", [1.0])
        steps = [
            ("", "LABSITE_SECRET_INFLUX"),  # nothing is set
            ("wrong", "401 authorization failed"),
            ("secret5", "403"),  # the user has no right yet
        ]
        for word, said in steps:
            monkeypatch.setenv("LABSITE_SECRET_INFLUX", word)
            Sink.objects.update(failures=0, retry_at=None)
            assert drained(copy).failures == 1
            assert said in copy.error
            assert standing.backlogs([copy])[copy.pk].rows == 1
            tested = editing.test_sink(copy, OPERATOR)
            assert not tested.ok
            assert said in tested.words
        closed.ask("GRANT WRITE ON lab TO joe", "")
        assert editing.test_sink(copy, OPERATOR).words == f"127.0.0.1:{closed.port} (1.6.7~rc0) takes points"
        assert closed.count() == 0  # a test writes nothing
        Sink.objects.update(failures=0, retry_at=None)
        assert drained(copy).failures == 0, copy.error
        assert closed.count() == 1
        monkeypatch.setenv("LABSITE_SECRET_INFLUX_HOSTS", "influx.lab")
        assert "is not for 127.0.0.1" in editing.test_sink(copy, OPERATOR).words
    assert "secret5" not in caplog.text


@needs_influxd
def test_the_database_is_made_again_when_somebody_drops_it(influx: Influx, bath: Instrument) -> None:
    copy = sink(influx.url, api="v1", bucket='odd "name"')
    drain = Drain(copy.pk)
    stored(bath, "a", [1.0])
    drain.step(timezone.now())
    influx.ask('DROP DATABASE "odd \\"name\\""', "")
    stored(bath, "a", [2.0])
    assert drained(copy, drain).failures == 0, copy.error
    assert influx.count(database='odd "name"') == 1


@needs_influxd
def test_the_wrong_interface_says_so(influx: Influx, bath: Instrument) -> None:
    copy = sink(influx.url, api="v2")
    stored(bath, "a", [1.0])
    assert "try the other one" in drained(copy).error
    assert standing.state(copy) == "retrying"


# ---- what only a script answers

FAILURES = [
    (Answer(429, '{"message":"too many"}', Retry_After="30"), "429 too many", 30, 33),
    (Answer(503, "", Retry_After="9000"), "503", 300, 330),
    (Answer(500, "engine: cache-max-memory-size exceeded"), "500 engine: cache-max", 1, 1.1),
    (Answer(302, "", Location="http://elsewhere/"), "redirects are not followed", 1, 1.1),
    (Answer(400, '{"code":"invalid","message":"invalid org"}'), "400 invalid org", 1, 1.1),
]


@pytest.mark.parametrize(("answer", "words", "least", "most"), FAILURES, ids=lambda value: str(value)[:20])
def test_what_fails_is_kept_and_tried_later(
    bath: Instrument, answer: Answer, words: str, least: float, most: float
) -> None:
    with Scripted(each(answer)) as server:
        copy = sink(server.url)
        stored(bath, "a", [1.0, 2.0])
        before = timezone.now()
        assert words in drained(copy).error
        assert copy.retry_at is not None
        wait = (copy.retry_at - before).total_seconds()
        assert least <= wait < most + 5
        drain = Drain(copy.pk)
        assert drain.step(timezone.now()) == Next(at=copy.retry_at)  # nothing is sent before
        sent = len(server.requests)
        server.script = each(Answer(204))
        drain.step(copy.retry_at + timedelta(milliseconds=1))
        copy.refresh_from_db()
        assert (copy.failures, copy.error, copy.points) == (0, "", 2)
        assert len(server.requests) == sent + 1
        assert len(server.taken) == 2


def test_a_server_that_hangs_is_not_waited_for(bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", (1.0, 0.3))
    with Scripted(each(Answer(204, hang=60.0))) as server:
        copy = sink(server.url)
        stored(bath, "a", [1.0])
        start = time.monotonic()
        assert "no answer of 127.0.0.1" in drained(copy).error
        assert time.monotonic() - start < 30  # and not the minute that it hangs
    Sink.objects.update(retry_at=None)
    assert "cannot be reached" in drained(copy).error  # it is gone
    assert copy.failures == 2


def test_the_token_goes_into_a_header_and_nowhere_else(
    bath: Instrument, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LABSITE_SECRET_TOKEN", "s3cr3t")
    caplog.set_level("DEBUG")
    with Scripted(each(Answer(401, "unauthorized access"), Answer(204))) as server:
        copy = sink(server.url, secret="TOKEN", org="my lab", bucket="a b")
        stored(bath, "a", [1.0])
        drained(copy)
        Sink.objects.update(retry_at=None, failures=0)
        drained(copy)
        path, headers, _ = server.requests[-1]
        assert path == "/api/v2/write?org=my+lab&bucket=a+b&precision=ns"
        assert headers["authorization"] == "Token s3cr3t"
        assert headers["content-encoding"] == "gzip"
    assert "s3cr3t" not in caplog.text + copy.error


def test_after_so_many_failures_it_is_an_error_once_and_news_when_it_is_over(
    bath: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="telemetry.sinks.drain")
    with Scripted(each(Answer(503))) as server:
        copy = sink(server.url, alert_threshold=3)
        stored(bath, "a", [1.0])
        for _ in range(5):
            Sink.objects.update(retry_at=None)
            Drain(copy.pk).step(timezone.now())
        errors = [record for record in caplog.records if record.levelname == "ERROR"]
        assert [record.getMessage() for record in errors] == [
            "sink copy takes nothing, 3 times in a row: 503"
        ]
        copy.refresh_from_db()
        assert (copy.failures, standing.state(copy)) == (5, "failing")
        (said,) = standing.said([copy], timezone.now())
        assert (said["state"], said["backlog_rows"], said["error"]) == ("failing", 1, "503")
        server.script = each(Answer(204))
        Sink.objects.update(retry_at=None)
        Drain(copy.pk).step(timezone.now())
    assert caplog.records[-1].getMessage() == "sink copy is fed again"


def test_killed_between_the_write_and_the_position_the_same_points_go_again(
    bath: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Scripted(each(Answer(204))) as server:
        copy = sink(server.url)
        stored(bath, "a", [1.0, 2.0, 3.0])

        def killed(*args: Any) -> bool:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("telemetry.sinks.drain._passed", killed)
            with pytest.raises(KeyboardInterrupt):
                Drain(copy.pk).step(timezone.now())
        first, server.taken = server.taken, []
        drained(copy)
        assert server.taken == first
        assert len(first) == 3


def test_what_breaks_in_between_is_read_again(bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same drain, which has read ahead."""
    with Scripted(each(Answer(204))) as server:
        copy = sink(server.url, batch_size=1)
        for number in range(4):
            stored(bath, "a", [float(number)])
        drain = Drain(copy.pk)
        drain.step(timezone.now())
        with monkeypatch.context() as patch:
            patch.setattr("telemetry.sinks.drain._passed", lambda *args: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                drain.step(timezone.now())
        server.taken.clear()
        assert drained(copy, drain).points == 4
        assert [line.split("value=")[1].split(" ")[0] for line in server.taken] == ["1", "2", "3"]


def test_of_two_that_feed_one_sink_only_one_moves_it(bath: Instrument) -> None:
    def other_is_faster(lines: list[str], headers: dict[str, str]) -> Answer:
        (row,) = outbox.following(outbox.Position(0, 0), 10, 10**6)
        Sink.objects.update(at_xid=row.position.xid, at_id=row.position.id)
        return Answer(204)

    with Scripted(other_is_faster) as server:
        copy = sink(server.url)
        stored(bath, "a", [1.0])
        assert drained(copy).points == 0
        assert len(server.requests) == 1


def test_few_of_the_points_set_aside_are_kept(bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.sinks.drain.ASIDE_MOST", 5)
    monkeypatch.setattr("telemetry.sinks.drain.ASIDE_OF_A_BATCH", 3)
    with Scripted(each(Answer(400, "partial write: points beyond retention policy dropped=4"))) as server:
        copy = sink(server.url, batch_size=4)
        for number in range(3):
            stored(bath, "a", [float(number * 4 + place) for place in range(4)])
            drained(copy)
        assert SetAside.objects.count() == 5
