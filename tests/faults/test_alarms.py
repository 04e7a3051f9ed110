"""Alarms in a laboratory that is broken on purpose: none missed, none invented, nobody paged for old news.

Judged by what the instruments say they answered, and by what people received. Each test leaves the laboratory
whole and calm. `make test-faults` makes the outages longer (LABSITE_OUTAGE_S).
"""

import os
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest

from devices import wire
from tests.faults import alarms
from tests.faults.alarm_lab import CALM, CURRENT, HIGH, LIMIT, MEDIUM, NOISE, NOISE_LIMITS, AlarmLab
from tests.faults.alarms import Comparison, Post
from tests.faults.judge import judge, microseconds, now
from tests.faults.lab import CENTRE
from tests.faults.test_faults import assert_spotless, live_again, outage
from tests.waiting import until

OUTAGE_S = float(os.environ.get("LABSITE_OUTAGE_S", "12"))
SEED = int(os.environ.get("LABSITE_SEED", "1"))
LIVE_S = 10.0  # what the edge has kept for less than this is live when the centre is back


@pytest.fixture(scope="module")
def whole_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlarmLab]:
    with AlarmLab(tmp_path_factory.mktemp("alarms")) as lab:
        yield lab


@pytest.fixture
def lab(whole_lab: AlarmLab) -> AlarmLab:
    """Whole and calm, with everything told that was to be told."""
    whole_lab.mend()
    whole_lab.calm_down()
    whole_lab.settle()
    assert not whole_lab.standing()
    return whole_lab


def currents(lab: AlarmLab, since: datetime) -> Comparison:
    """What is noted of currents, beside what the instruments say."""
    return alarms.compare(lab, CURRENT, "ch0.i_set", [LIMIT] * lab.instruments, since)


def noise(lab: AlarmLab, since: datetime) -> Comparison:
    return alarms.compare(lab, NOISE, "ch1.temperature", NOISE_LIMITS, since)


def told(posts: list[Post]) -> list[tuple[str, str]]:
    """Each message with what it is about, as far as it is one alarm: ("alarm", "thermostat 0 …")."""
    return [(post.body["kind"], " + ".join(alarm["text"] for alarm in post.alarms)) for post in posts]


def too_high(number: int) -> str:
    """What people read of an instrument's current."""
    return f"thermostat {number} CH0 current set above {LIMIT:.4f} A"


SILENT, LOST = "Edge bench is silent", "thermostat 0 is not connected"


# ---- none missed, none invented


def test_every_excursion_is_noted_and_told_whatever_is_killed(lab: AlarmLab) -> None:
    since = now()
    chance = random.Random(SEED)
    with lab.restless(SEED, dwell=(0.4, 2.5)):
        for breaks in (kill_ingest, kill_central, restart_database, kill_ingest, wipe_broker, kill_both, cut):
            outage(lab, chance.uniform(1.0, 4.0))
            breaks(lab)
    live_again(lab)
    assert_spotless(judge(lab, since))
    lab.settle()
    both = (currents(lab, since), noise(lab, since))
    for found in both:
        assert not found.faults, str(found)
        assert found.crossed > 8
    assert sum(found.past for found in both) > 0
    assert not alarms.untold(lab, lab.receiver, since, MEDIUM)


def kill_ingest(lab: AlarmLab) -> None:
    lab.kill("ingest")
    lab.start("ingest")


def kill_central(lab: AlarmLab) -> None:
    lab.kill("central")
    lab.start("central")


def kill_both(lab: AlarmLab) -> None:
    lab.kill("ingest", "central")
    lab.start("ingest")
    lab.start("central")


def restart_database(lab: AlarmLab) -> None:
    lab.postgres.restart()
    live_again(lab)


def wipe_broker(lab: AlarmLab) -> None:
    lab.redis.kill()
    for dump in lab.redis.broker.folder.rglob("*.rdb"):
        dump.unlink()
    lab.redis.start()
    live_again(lab)


def cut(lab: AlarmLab) -> None:
    lab.edge_wire.silence()
    outage(lab, max(OUTAGE_S, LIVE_S + 8.0))  # so that some of it comes late
    lab.edge_wire.resume()
    live_again(lab)


# ---- one cause, one alarm


def test_an_unplugged_instrument_is_told_once_and_its_return_once(lab: AlarmLab) -> None:
    since = now()
    lab.instrument_wire.silence()
    until(lambda: len(lab.suppressed()) > 10, 60, "its channels are consequences")
    lab.until_read(since + timedelta(seconds=OUTAGE_S))
    unplugged = ("thermostat 0", "Instrument not connected", "unacknowledged")
    assert [alarm for alarm in lab.standing() if alarm[2] != "suppressed"] == [unplugged]
    assert lab.consequences("Instrument not connected") == lab.suppressed()
    lab.instrument_wire.resume()
    lab.until_told(since, 2)
    live_again(lab)
    lab.settle()
    assert not lab.standing()
    assert told(lab.receiver.since(since)) == [("alarm", LOST), ("recovery", LOST)]


@contextmanager
def silent_after(lab: AlarmLab, seconds: float) -> Iterator[None]:
    """Let an edge be called silent after so many seconds."""
    [(usual,)] = lab.rows("SELECT seconds FROM alerts_rule WHERE name = 'Edge silent'")
    lab.set_rule("Edge silent", seconds=seconds)
    try:
        yield
    finally:
        lab.set_rule("Edge silent", seconds=usual)


def test_a_killed_edge_is_told_once_and_its_return_once(lab: AlarmLab) -> None:
    since = now()
    with silent_after(lab, 10.0):  # it says hello every 5 s
        lab.kill("edge")
        lab.until_told(since)
        silent = ("", "Edge silent", "unacknowledged")
        assert [alarm for alarm in lab.standing() if alarm[2] != "suppressed"] == [silent]
        lab.start("edge")
        lab.until_told(since, 2)
        live_again(lab)
        lab.settle()
    assert not lab.standing()
    assert told(lab.receiver.since(since)) == [("alarm", SILENT), ("recovery", SILENT)]


# ---- nobody is paged for old news


def test_after_an_outage_of_the_centre_only_what_still_holds_is_told(lab: AlarmLab) -> None:
    since = now()
    with silent_after(lab, 20.0):  # less than the outage
        lab.kill(*CENTRE)
        outage(lab, 2.0)  # what was on its way
        lab.set_current(0, HIGH)
        lab.set_current(1, HIGH)
        outage(lab, 3.0)
        lab.set_current(0, CALM)
        outage(lab, max(OUTAGE_S, 16.0))
        back = now()
        for name in CENTRE:
            lab.start(name)
        live_again(lab)
        lab.until_told(back)
        lab.settle()
    assert lab.standing() == [("thermostat 1", CURRENT, "unacknowledged")]
    found = currents(lab, since)
    assert not found.faults, str(found)
    assert (found.crossed, found.past) == (2, 3)
    assert told(lab.receiver.since(since)) == [("alarm", too_high(1))]


def test_a_backlog_of_the_edge_pages_nobody(lab: AlarmLab) -> None:
    since = now()
    with silent_after(lab, 3600.0):
        lab.edge_wire.silence()
        outage(lab, 1.0)
        with lab.restless(SEED, dwell=(0.6, 2.0)):
            outage(lab, max(OUTAGE_S - LIVE_S, 6.0))
        outage(lab, 2.0 + LIVE_S)
        lab.edge_wire.resume()
        live_again(lab)
        assert_spotless(judge(lab, since))
        lab.settle()
    found = currents(lab, since)
    assert not found.faults, str(found)
    assert found.crossed > 3
    assert found.past == 2 * found.crossed
    assert not lab.receiver.since(since)


def test_a_day_that_comes_at_once_pages_nobody(lab: AlarmLab) -> None:
    """24 hours of an instrument that nobody saw: history is written, and only that."""
    since = now()
    end = since - timedelta(hours=1)
    said = day(end)
    for number, part in enumerate(said[start : start + 500] for start in range(0, len(said), 500)):
        lab.deliver(parcel(lab.instrument_id("thermostat 3"), number + 1, part))
    until(lambda: stored(lab, since - timedelta(hours=26), end) == len(said), 60, "the day is stored")
    lab.settle()
    expected = alarms.excursions(said, LIMIT)
    rows = [row for row in alarms.journal(lab, since) if row.rule == CURRENT]
    assert len(expected) > 100
    assert alarms.spans(rows) == expected
    assert all(row.past for row in rows)
    assert not lab.receiver.since(since)


def day(end: datetime) -> list[tuple[int, float]]:
    """A reading each 20 s for 24 h, in µs; now and then above the limit, and at the end not."""
    chance = random.Random(SEED)
    start = microseconds(end - timedelta(hours=24))
    values = [HIGH if chance.random() < 0.1 else CALM for _ in range(24 * 180 - 1)]
    return [(start + number * 20_000_000, value) for number, value in enumerate([*values, CALM])]


def parcel(instrument: str, sequence: int, said: list[tuple[int, float]]) -> wire.Parcel:
    """As the edge would bring it, out of a spool that it had then."""
    rows: list[int] = []
    before = 0
    for time, _ in said:
        rows += [0, 0, time - before]
        before = time
    batch = wire.Batch([instrument], [["ch0.i_set"]], rows, [value for _, value in said])
    return wire.Parcel(SPOOL, "backlog", [sequence], [0], [wire.as_text(wire.pack(batch))], 0)


SPOOL = str(uuid.UUID(int=24))


def stored(lab: AlarmLab, start: datetime, end: datetime) -> int:
    question = (
        "SELECT count(*) FROM sample s JOIN devices_channel c ON c.id = s.channel_id"
        " JOIN devices_instrument i ON i.id = c.instrument_id"
        " WHERE i.name = 'thermostat 3' AND c.key = 'ch0.i_set' AND s.time BETWEEN %s AND %s"
    )
    return int(lab.rows(question, start, end)[0][0])


# ---- at least once, and a repeat can be told


def test_central_killed_at_every_step_of_telling(lab: AlarmLab) -> None:
    """One change, and at each step on its way the process is killed that tells of it."""
    since = now()
    lab.stop("central")
    lab.set_current(0, HIGH)
    until(lambda: ("thermostat 0", CURRENT, "unacknowledged") in lab.standing(), 20, "raised")
    for moment in (
        "alerts.notices.routing:Plan.write:before",
        "alerts.notices.outbox:mark:after",  # not committed
        "alerts.notices.routing:dispatch:made",  # committed
        "alerts.notices.words:message_of:after",  # not committed
        "alerts.notices.delivery:begin:after",  # committed
        "alerts.notices.transports.webhook:send:after",  # received
        "alerts.notices.reminders:schedule:before",  # recorded, not committed
        "alerts.notices.delivery:release:before",  # committed
    ):
        lab.start_to_be_killed("central", moment)
        lab.until_dead("central")
    lab.start("central")
    lab.until_told(since)
    lab.settle()
    posts = lab.receiver.since(since)
    assert told(posts) == [("alarm", too_high(0))] * 3
    assert {post.id for post in posts} == {posts[0].id}


def test_central_killed_at_every_step_of_judging(lab: AlarmLab) -> None:
    """A delay that runs out, and a shelving that ends, with the process killed that looks at the clock."""
    since = now()
    lab.stop("central")
    lab.instrument_wire.silence()
    for moment in (
        "alerts.judging.timers:run_out:before",
        "alerts.judging.timers:apply:after",  # not committed
        "alerts.judging.timers:run_out:after",  # committed
    ):
        lab.start_to_be_killed("central", moment)
        lab.until_dead("central")
    lab.start("central")
    lab.until_told(since)
    lab.stop("central")
    lab.manage("shell", "-v", "0", "-c", SHELVE)
    lab.start_to_be_killed("central", "alerts.judging.timers:settle:after")
    lab.until_dead("central")
    lab.start("central")
    lab.until_told(since, 2)
    lab.instrument_wire.resume()
    lab.until_told(since, 3)
    live_again(lab)
    lab.settle()
    assert told(lab.receiver.since(since)) == [("alarm", LOST), ("alarm", LOST), ("recovery", LOST)]
    assert not alarms.untold(lab, lab.receiver, since, MEDIUM)
    assert not list(alarms.breaks(alarms.journal(lab)))


SHELVE = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.utils import timezone
from alerts import services
from alerts.models import Alarm, Source
alarm = Alarm.objects.get(rule__kind="not_connected", instrument__name="thermostat 0")
by, _ = User.objects.get_or_create(username="tester", is_superuser=True, is_staff=True)
services.shelve(alarm, by, Source.COMMAND, timezone.now() + timedelta(seconds=2), "a test")
"""


def test_ingest_killed_at_every_step_of_judging(lab: AlarmLab) -> None:
    since = now()
    for number, moments in enumerate(
        (
            ("alerts.changes:Changes.move:before",),
            ("alerts.changes:_log:after",),  # written, not committed
            ("alerts.changes:_log:after", "labsite.pipeline:ingest:after"),  # committed, not answered
        )
    ):
        lab.stop("ingest")
        lab.start_to_be_killed("ingest", *moments)
        lab.set_current(number, HIGH)
        lab.until_dead("ingest")
        lab.start("ingest")
        lab.until_told(since, number + 1)
    live_again(lab)
    lab.settle()
    found = currents(lab, since)
    assert not found.faults, str(found)
    assert told(lab.receiver.since(since)) == [("alarm", too_high(number)) for number in range(3)]


def test_the_database_dies_while_alarms_are_told(lab: AlarmLab) -> None:
    since = now()
    with lab.restless(SEED + 1, dwell=(0.5, 2.0)):
        for end in (lab.postgres.kill, lab.postgres.stop):
            outage(lab, 3.0)
            end()
            lab.postgres.start()
            live_again(lab)
    live_again(lab)
    lab.settle()
    found = currents(lab, since)
    assert not found.faults, str(found)
    assert not alarms.untold(lab, lab.receiver, since, MEDIUM)
    # A notice that goes out again says how things are by then: of the end a second one may tell, too.
    said = alarms.ids_by_change(lab.receiver.since(since))
    assert all(len(ids) == 1 for (_alarm, _raised, has_ended), ids in said.items() if not has_ended)


def test_a_receiver_that_was_away_gets_one_message_of_how_it_is_by_then(lab: AlarmLab) -> None:
    lab.receiver.leave()
    since = now()
    lab.set_current(0, HIGH)
    outage(lab, 3.0)
    lab.set_current(1, HIGH)
    lab.set_current(2, HIGH)
    outage(lab, OUTAGE_S)
    lab.set_current(2, CALM)
    outage(lab, 2.0)
    lab.receiver.come_back()
    lab.until_told(since, within=5 * 60 + 30)  # the longest time between two attempts
    lab.settle()
    posts = lab.receiver.since(since)
    assert len(posts) == 1, told(posts)
    [post] = posts
    assert (post.body["count"], post.body["standing"]) == (3, 2)


def test_a_receiver_that_hangs_gets_what_it_has_taken_again_under_the_same_id(lab: AlarmLab) -> None:
    lab.receiver.hang()
    since = now()
    lab.set_current(0, HIGH)
    lab.until_told(since, 2)
    lab.receiver.go_on()
    lab.settle()
    posts = lab.receiver.since(since)
    assert {post.id for post in posts} == {posts[0].id}
    assert {post.title for post in posts} == {posts[0].title}
