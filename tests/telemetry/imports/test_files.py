"""The replaced programs' files, and any CSV, read."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from devices.edges import microseconds
from devices.readings import Flag, Quality
from telemetry.imports import texts
from telemetry.imports.base import Point, Refusal, Source, Unreadable
from telemetry.imports.filament_box import UnsentBatches
from telemetry.imports.generic import Form, GenericCsv
from telemetry.imports.thermostat import HEADER, ThermostatCsv

T0 = microseconds(datetime(2025, 9, 1, 12, 0, 58, 892_000, tzinfo=UTC))


def read(source: Source) -> tuple[list[Point], list[Refusal]]:
    told = list(source.points())
    return [one for one in told if isinstance(one, Point)], [one for one in told if isinstance(one, Refusal)]


# ---- the thermostat logger


def row(time: str, ts: str = "", **cells: Any) -> str:
    values = {"time": time, "ts": ts, **cells}
    return ",".join(str(values.get(name, "1.5")) for name in HEADER)


def csv_file(folder: Path, *rows: str, header: bool = True) -> Path:
    path = folder / "data.csv"
    path.write_text("\n".join([*([",".join(HEADER)] if header else []), *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("header", [True, False])
def test_the_loggers_file_in_both_its_spellings(tmp_path: Path, header: bool) -> None:
    path = csv_file(
        tmp_path,
        row("2025-09-01T12:00:58.892Z", "1756728058892", temperature_ch0="", pid_engaged_ch1="True"),
        row("2025-09-01T12:00:59.877487+00:00", temperature_ch0="21.25", pid_engaged_ch1="False"),
        header=header,
    )
    source = ThermostatCsv(path)
    points, refusals = read(source)
    assert not refusals
    assert source.blank == 1
    assert len(points) == 2 * 26 - 1
    by_key = {(point.key, point.time): point.value for point in points}
    assert by_key["ch1.pid_engaged", T0] is True
    assert by_key["ch1.pid_engaged", T0 + 985_487] is False
    assert by_key["ch0.temperature", T0 + 985_487] == 21.25
    assert ("ch0.temperature", T0) not in by_key
    assert by_key["ch1.current_swapped", T0] == 1.5


def test_what_of_the_loggers_file_is_no_reading(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        row("yesterday", "1756728058892"),
        row("yesterday", "noon"),
        row("2025-09-01T12:00:58.892Z", i_tec_ch0="nan", i_tec_ch1="#REF!"),
        "",
        "2025-09-01T12:00:59.892Z,17567280",
    )
    points, refusals = read(ThermostatCsv(path))
    assert len(points) == 26 + 24
    assert points[0].time == T0
    assert [(refusal.reason, refusal.place) for refusal in refusals] == [
        (texts.NO_TIME, 3),
        (texts.NO_NUMBER, 4),
        (texts.NO_NUMBER, 4),
        ("a line with more or fewer cells than the first", 6),
    ]


def test_columns_in_another_order_and_more_of_them(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("temperature_ch1,time,note,device_time_ch1\n20.5,2025-09-01T12:00:58.892Z,hello,3.25\n")
    source = ThermostatCsv(path)
    points, _ = read(source)
    assert [(point.key, point.value) for point in points] == [
        ("ch1.temperature", 20.5),
        ("ch1.device_time", 3.25),
    ]
    assert source.notes == ["columns left out: note"]


def test_another_file_is_not_the_loggers(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("hello,world\n1,2\n")
    with pytest.raises(Unreadable, match="is it the logger's file"):
        read(ThermostatCsv(path))
    with pytest.raises(Unreadable, match="No such file"):
        read(ThermostatCsv(tmp_path / "nothing.csv"))


# ---- the filament box


def database(folder: Path, *batches: tuple[float, str]) -> Path:
    path = folder / "unsent_batches.db"
    with closing(sqlite3.connect(path)) as made, made:
        made.execute(
            "CREATE TABLE unsent_batches (id INTEGER PRIMARY KEY AUTOINCREMENT, persisted_at REAL NOT NULL,"
            " batch_json TEXT NOT NULL)"
        )
        made.executemany("INSERT INTO unsent_batches (persisted_at, batch_json) VALUES (?, ?)", batches)
    return path


def environment(celsius: Any, **more: Any) -> dict[str, Any]:
    fields = {"temperature_c": celsius, "temperature_f": 70.0, "humidity": 40.5}
    return {"measurement": "environment", "fields": fields, "tags": {"location": "box"}, **more}


def test_unsent_batches(tmp_path: Path) -> None:
    """Those without a time lie before the moment they were put by, as far apart as they were read."""
    at = T0 / 1e6
    path = database(
        tmp_path,
        (at, json.dumps([environment(20.0), environment(20.5), environment(21.0)])),
        (
            at + 60,
            json.dumps([environment(22.0, time="2025-09-01T12:01:30Z"), environment(23.0, time=T0 * 1000)]),
        ),
        (at + 99, "[{"),
        (at + 99, json.dumps([environment(None), {"measurement": "environment", "fields": {}}])),
    )
    points, refusals = read(UnsentBatches(path, interval=0.25))
    warm = [(point.time - T0, point.value, point.quality) for point in points if point.key == "temperature"]
    guessed = Quality.UNCERTAIN | Flag.CLOCK_UNSURE
    assert warm == [
        (-500_000, 20.0, guessed),
        (-250_000, 20.5, guessed),
        (0, 21.0, guessed),
        (31_108_000, 22.0, 0),
        (0, 23.0, 0),
    ]
    assert Counter(point.key for point in points) == {"temperature": 5, "humidity": 6}
    assert [(refusal.reason, refusal.place) for refusal in refusals] == [
        ("no list of points in JSON", 3),
        (texts.NO_NUMBER, 4),
        ("no point with fields", 4),
    ]


def test_another_file_is_not_the_filament_boxs(tmp_path: Path) -> None:
    path = tmp_path / "unsent_batches.db"
    path.write_text("not a database, whatever it is called" * 100)
    with pytest.raises(Unreadable, match="is it the collector's file"):
        read(UnsentBatches(path))
    with pytest.raises(Unreadable):
        read(UnsentBatches(tmp_path / "nothing.db"))
    assert not (tmp_path / "nothing.db").exists()


# ---- any CSV


def generic(
    folder: Path, text: str, encoding: str = "utf-8", **form: Any
) -> tuple[list[Point], list[Refusal]]:
    path = folder / "any.csv"
    path.write_bytes(text.encode(encoding))
    clock = form.pop("clock", texts.iso)
    return read(GenericCsv(path, Form(form.pop("time", "Zeit"), clock, encoding=encoding, **form)))


def test_a_german_logger(tmp_path: Path) -> None:
    points, refusals = generic(
        tmp_path,
        "Gerät 7\n\nZeit;Temperatur °C;Zustand;Rest\n01.09.2025 14:00:58;1.021,25;läuft;x\n"
        "01.09.2025 14:00:59;;-;x\nmorgen;1,0;steht;x\n",
        encoding="latin-1",
        clock=texts.LocalClock(ZoneInfo("Europe/Berlin"), "%d.%m.%Y %H:%M:%S"),
        channels={"Temperatur °C": "temperature", "Zustand": "state"},
        delimiter=";",
        decimal_comma=True,
        skip=2,
    )
    assert points == [
        Point("temperature", T0 - 892_000, 1021.25, 4),
        Point("state", T0 - 892_000, "läuft", 4),
    ]
    assert refusals == [Refusal(texts.NO_TIME, 6, "morgen")]


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("s", "1756728058.892"),
        ("ms", "1756728058892"),
        ("us", "1756728058892000"),
        ("ns", "1756728058892000000"),
    ],
)
def test_times_since_1970(tmp_path: Path, unit: str, text: str) -> None:
    points, _ = generic(tmp_path, f"Zeit,a\n{text},1\n", clock=texts.epoch(unit))
    assert points == [Point("a", T0, 1.0, 2)]


def test_each_column_is_a_channel_of_its_name_if_none_is_named(tmp_path: Path) -> None:
    points, _ = generic(tmp_path, "Zeit,a,b\n2025-09-01T12:00:58.892Z,1,true\n")
    assert [(point.key, point.value) for point in points] == [("a", 1.0), ("b", True)]


def test_the_hour_that_comes_twice_and_the_one_that_never_was() -> None:
    """Clocks put back: what follows goes on. Put forward: a time between is none."""
    clock = texts.LocalClock(ZoneInfo("Europe/Berlin"))
    told = ["01:50", "02:10", "02:50", "02:05", "02:30", "02:59", "03:01"]
    times = [clock(f"2025-10-26 {each}") for each in told]
    minutes = [(time - times[0]) // 60_000_000 for time in times]
    assert minutes == [0, 20, 60, 75, 100, 129, 131]
    with pytest.raises(ValueError, match="clocks were put forward"):
        clock("2025-03-30 02:30")
    assert clock("2025-10-26T02:30:00+01:00") == times[4]


def test_a_column_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="there is no column 'when'; there are 'Zeit', 'a'"):
        generic(tmp_path, "Zeit,a\n", time="when")
