"""Old readings into channels: each once, or refused with the reason."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from alerts.models import Alarm
from devices.edges import microseconds
from devices.models import Channel, Instrument, Latest
from telemetry import outbox
from telemetry.imports import taking
from telemetry.imports.base import Point, Refusal, Source, Told, Unreadable
from telemetry.imports.taking import Taker, Tally
from telemetry.models import AnySample, DirtyBucket, RollupMark, SampleLong, Sink
from tests.telemetry.factories import NOW, at, edge, instrument, moment
from tests.telemetry.imports.test_files import csv_file, row

pytestmark = pytest.mark.django_db


class Given(Source):
    """What a test says; then it fails, if so asked."""

    def __init__(self, *told: Told, fails: str = "") -> None:
        super().__init__()
        self._told, self._fails = told, fails

    def points(self) -> Iterator[Told]:
        yield from self._told
        if self._fails:
            raise Unreadable(self._fails)


@pytest.fixture
def bath() -> Instrument:
    return instrument(edge(), keys=["a"])


def point(key: str, seconds: float, value: Any = 1.0, quality: int = 0) -> Point:
    return Point(key, at(seconds), value, 7, quality)


def take(bath: Instrument, *told: Told, retention: str = "", **how: Any) -> Tally:
    taker = Taker(bath, retention, **how)
    taker.take(Given(*told), NOW, None, None)
    return taker.tally


def stored() -> list[tuple[str, datetime, float | str | None]]:
    keys = dict(Channel.objects.values_list("pk", "key"))
    return [
        (keys[sample.channel_id], sample.time, sample.value if sample.text is None else sample.text)
        for sample in AnySample.objects.order_by("channel_id", "time")
    ]


def test_a_second_import_takes_nothing(bath: Instrument) -> None:
    old = [point("a", -3600 + n, float(n)) for n in range(5)]
    first, second = take(bath, *old), take(bath, *old, point("a", -10, 9.0))
    assert (first.taken, first.known) == (5, 0)
    assert (second.taken, second.known) == (1, 5)
    assert (second.start, second.end) == (moment(-10), moment(-10))
    assert stored() == [*(("a", moment(-3600 + n), float(n)) for n in range(5)), ("a", moment(-10), 9.0)]


def test_each_refusal_has_its_reason_and_its_first_lines(bath: Instrument) -> None:
    Channel.objects.create(instrument=bath, key="wells", label="wells", kind="vector")
    take(bath, point("a", -50, 1.0))
    day = 86_400
    tally = take(
        bath,
        point("a", -50, 2.0),
        point("a", 300),
        *(point("a", -31 * day - n) for n in range(5)),
        point("a", -40, "warm"),
        point("wells", -40),
        point("bad\nkey", -40),
        Refusal("its time cannot be read", 4, "noon"),
    )
    assert tally.taken == 0
    counts = {reason: refused.count for reason, refused in tally.refused.items()}
    assert counts == {
        "its time cannot be read": 1,
        taking.CONFLICT: 1,
        taking.FUTURE: 1,
        taking.too_old("standard"): 5,
        taking.OTHER_KIND: 1,
        taking.VECTORS: 1,
        taking.NO_KEY: 1,
    }
    assert "--retention long keeps" in taking.too_old("standard")
    too_old = tally.refused[taking.too_old("standard")].first
    assert len(too_old) == 3
    assert too_old[0] == "line 7: a 1.0 at 2026-10-20T12:00:00+00:00"


def test_long_ago_into_the_class_that_is_kept_long(bath: Instrument) -> None:
    tally = take(bath, point("a", -400 * 86_400), point("new", -400 * 86_400), retention="long")
    assert (tally.taken, tally.kept_longer, tally.made) == (2, ["a"], ["new"])
    assert set(Channel.objects.values_list("retention", flat=True)) == {"long"}
    assert SampleLong.objects.count() == 2


def test_channels_are_made_as_the_driver_knows_them(bath: Instrument) -> None:
    take(
        bath,
        point("ch0.temperature", -9, 20.0),
        point("ch0.pid_engaged", -9, value=True),
        point("note", -9, "x"),
    )
    made = {each.key: (each.unit, each.kind) for each in Channel.objects.exclude(key="a")}
    assert made == {
        "ch0.temperature": ("Cel", "float"),
        "ch0.pid_engaged": ("", "bool"),
        "note": ("", "text"),
    }
    assert [value for _, _, value in stored()] == [20.0, 1.0, "x"]


def test_a_dry_run_counts_and_stores_nothing(bath: Instrument) -> None:
    take(bath, point("a", -1))
    tally = take(
        bath, point("a", -1), point("a", -2), point("x", -2), point("y", -2), retention="long", dry=True
    )
    assert (tally.taken, tally.known, tally.made, tally.kept_longer) == (3, 1, ["x", "y"], ["a"])
    assert len(stored()) == 1
    assert list(Channel.objects.values_list("key", "retention")) == [("a", "standard")]


def test_roll_ups_and_sinks_hear_of_it_and_nobody_is_paged(bath: Instrument) -> None:
    RollupMark.objects.update_or_create(width="minute", defaults={"closing": NOW, "published": NOW})
    Sink.objects.create(name="copy", url="http://127.0.0.1:1")
    channel = Channel.objects.get(key="a")
    take(bath, point("a", -3600, 1e9), point("a", -3599, 1e9), point("a", -60, -1e9))
    marks = DirtyBucket.objects.filter(channel_id=channel.pk).values_list("bucket", flat=True)
    assert sorted(marks) == [moment(-3600), moment(-60)]
    (fed,) = outbox_rows()
    assert fed.time.tolist() == [at(-3600), at(-3599), at(-60)]
    assert not Alarm.objects.exists()
    assert not Latest.objects.exists(), "what never showed anything would be called stale at once"


def outbox_rows() -> list[Any]:
    return [outbox.taken(bytes(payload))[0] for payload in payloads()]


def payloads() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload FROM outbox ORDER BY id")
        return [payload for (payload,) in cursor.fetchall()]


@pytest.mark.parametrize(("seconds", "value"), [(-60, 5.0), (-10, 1.0)], ids=["older", "newer"])
def test_the_latest_reading_changes_only_for_a_newer_one(
    bath: Instrument, seconds: int, value: float
) -> None:
    channel = Channel.objects.get(key="a")
    shown = moment(-30)
    Latest.objects.create(channel=channel, time=shown, value=5.0, seen_at=shown, stored_at=shown)
    take(bath, point("a", seconds, 1.0))
    assert Latest.objects.get().value == value


def test_what_was_taken_before_it_broke_off_stays(bath: Instrument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "AT_ONCE", 2)
    taker = Taker(bath)
    with pytest.raises(Unreadable):
        taker.take(Given(*(point("a", -n) for n in range(1, 6)), fails="gone"), NOW, None, None)
    assert (taker.tally.taken, len(stored())) == (5, 5)
    assert take(bath, *(point("a", -n) for n in range(1, 7))).taken == 1


def test_the_same_twice_in_one_file_is_one(bath: Instrument) -> None:
    tally = take(bath, point("a", -5, 1.0), point("a", -5, 1.0), point("a", -5, 2.0))
    assert (tally.taken, tally.known, tally.refused[taking.CONFLICT].count) == (1, 1, 1)


def test_only_a_part_of_the_time(bath: Instrument) -> None:
    taker = Taker(bath)
    taker.take(Given(*(point("a", -n) for n in range(10))), NOW, moment(-5), moment(-2))
    assert (taker.tally.taken, taker.tally.outside) == (3, 7)


# ---- the command


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """An hour of the thermostat logger's, which ended an hour ago."""
    start = timezone.now() - timedelta(hours=2)
    times = (start + timedelta(seconds=60 * n) for n in range(60))
    return csv_file(tmp_path, *(row(time.isoformat(), temperature_ch0="") for time in times), "torn,12")


def ran(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    call_command("import_history", *words)
    return capsys.readouterr().out.splitlines()


def test_the_command_takes_a_file_and_says_what_came_of_it(
    bath: Instrument, log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["thermostat", str(log), "--instrument", "bath"]
    dry = ran(capsys, *words, "--dry-run")
    assert dry[0].startswith("would be taken: 1500, from ")
    assert not AnySample.objects.exists()
    first = ran(capsys, *words)
    assert first[0].startswith("taken: 1500, from ")
    assert first[1:6] == [
        "known: 0",
        "blank: 60",
        "refused: 1",
        "  1: a line with more or fewer cells than the first",
        "    line 62: 'torn,12'",
    ]
    assert first[6].startswith("channels made: ch1.temperature, ch0.i_tec")
    second = ran(capsys, *words)
    assert second[:2] == ["taken: 0", "known: 1500"]
    part = ran(capsys, *words, "--from=-90m", "--retention", "long", "--dry-run")
    assert part[2] == "blank: 60"
    assert part[3].startswith("of another time: 7")
    assert microseconds(AnySample.objects.latest("time").time) < microseconds(timezone.now())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["thermostat", "x.csv", "--instrument", "nobody"], "there is no instrument 'nobody'"),
        (["thermostat", "x.csv", "--instrument", "bath"], "No such file or directory. What was taken stays"),
        (["csv", "x", "--instrument", "bath", "--time", "t", "--zone", "Mars"], "no time zone 'Mars'"),
        (["csv", "x", "--instrument", "bath", "--time", "t", "--delimiter", ";;"], "--delimiter"),
        (["csv", "x", "--instrument", "bath", "--time", "t", "--time-format", "x"], "--time-format"),
        (["csv", "x", "--instrument", "bath", "--time", "t", "--column", "a"], "--column: 'a'"),
        (["csv", "x", "--instrument", "bath", "--time", "t", "--from", "soon"], "--from: 'soon'"),
        (["influx1", "http://u:p@h", "--database", "d", "--instrument", "bath"], "name a secret"),
        (["influx1", "h", "--database", "d", "--instrument", "bath"], "no address such as"),
        (["influx1", "http://h", "--database", "d", "--instrument", "bath"], "--schema is needed, or --map"),
        (
            ["influx1", "http://h", "--database", "d", "--instrument", "bath", "--map", "x"],
            "not of the form measurement.field=channel",
        ),
        (
            ["influx2", "http://h", "--bucket", "b", "--org", "o", "--token", "GONE", "--instrument", "bath",
             "--schema", "labsite"],
            "LABSITE_SECRET_GONE",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_named(bath: Instrument, words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("import_history", *words)


def test_whoever_breaks_it_off_keeps_what_was_taken(
    bath: Instrument, log: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Ctrl-C between two lots; the next import goes on from there."""
    monkeypatch.setattr(taking, "AT_ONCE", 500)
    lots = iter(range(3))
    take_lot = Taker._take

    def until_broken_off(self: Taker, *lot: Any) -> None:
        if next(lots) == 2:
            raise KeyboardInterrupt
        take_lot(self, *lot)

    words = ["thermostat", str(log), "--instrument", "bath"]
    monkeypatch.setattr(Taker, "_take", until_broken_off)
    with pytest.raises(CommandError, match=r"broken off\. What was taken stays"):
        call_command("import_history", *words)
    assert capsys.readouterr().out.startswith("taken: 1000, ")
    monkeypatch.setattr(Taker, "_take", take_lot)
    assert ran(capsys, *words)[:2] == [ran_line(500), "known: 1000"]


def ran_line(taken: int) -> str:
    times = AnySample.objects.order_by("-time")[:taken].values_list("time", flat=True)
    return f"taken: {taken}, from {min(times):%Y-%m-%d %H:%M:%S} to {max(times):%Y-%m-%d %H:%M:%S} UTC"
