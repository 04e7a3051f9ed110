"""Exports: what is in the file, and what it says of itself."""

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import StreamingHttpResponse
from django.utils import timezone
from pyarrow import parquet
from rest_framework.test import APIClient

from devices.models import Channel, Run
from devices.readings import Flag, Quality
from telemetry import export, partitions
from telemetry.export.legend import comments
from telemetry.models import Calibration, ComputedChannel, Gap
from tests import factories
from tests.telemetry.factories import NOW
from tests.telemetry.readings import DAY, Readings, rolled_up

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/api/v1/export/"
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOUR: dict[str, Any] = {"from": "2026-11-21T12:00:00Z", "to": "2026-11-21T13:00:00Z"}


@pytest.fixture
def api() -> APIClient:
    return factories.client(factories.person(staff=False))


@pytest.fixture
def bath() -> list[Channel]:
    """Channels of numbers, of words and of vectors, with a few readings."""
    of = factories.instrument()
    number, words = of.channels.order_by("pk")[:2]
    of.channels.filter(pk=words.pk).update(kind="text", unit="")
    wells = of.channels.create(key="wells", label="wells", kind="vector")
    partitions.ensure(partitions.holding(table, NOON.date()) for table in ("sample", "vector_sample"))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sample (time, value, channel_id, quality, text) VALUES (%s, %s, %s, %s, %s)",
            [
                (NOON, 20.5, number.pk, 0, None),
                (NOON + timedelta(microseconds=1500), None, number.pk, Quality.BAD, "open, circuit"),
                (NOON + timedelta(seconds=1), -0.1, number.pk, Quality.UNCERTAIN | Flag.CLOCK_UNSURE, None),
                (NOON, None, words.pk, 0, "=1+1"),
                (NOON + timedelta(seconds=1), None, words.pk, Flag.INSTRUMENT_TIME | Flag.CLOCK_UNSURE, ""),
            ],
        )
        cursor.executemany(
            'INSERT INTO vector_sample (time, channel_id, quality, "values", labels)'
            " VALUES (%s, %s, 0, %s, %s)",
            [
                (NOON, wells.pk, [1.5, None], ["A1", "@2"]),
                (NOON + timedelta(seconds=1), wells.pk, [2.5], None),
            ],
        )
    return list(
        of.channels.select_related("instrument").filter(pk__in=[number.pk, words.pk, wells.pk]).order_by("pk")
    )


def read(answer: Any) -> bytes:
    """What comes of it, as the web process sends it."""
    with closing(answer):
        return b"".join(async_to_sync(_parts)(answer))


async def _parts(answer: StreamingHttpResponse) -> list[bytes]:
    return [part async for part in answer]


def file(api: APIClient, **query: Any) -> bytes:
    answer = api.get(URL, query)
    assert answer.status_code == 200, answer.content
    return read(answer)


def told(content: bytes) -> dict[str, list[Any]]:
    """What the lines before a CSV table say."""
    found: dict[str, list[Any]] = {}
    for line in content.decode().splitlines():
        if line.startswith("# "):
            name, _, said = line[2:].partition(": ")
            found.setdefault(name, []).append(json.loads(said))
    return found


def table(content: bytes) -> list[list[str]]:
    lines = [line for line in content.decode().splitlines(keepends=True) if not line.startswith("# ")]
    return list(csv.reader(io.StringIO("".join(lines))))


def test_csv_has_a_row_for_each_reading(api: APIClient, bath: list[Channel]) -> None:
    number, words, _ = bath
    content = file(api, channel=[number.pk, words.pk], comments="0", **HOUR).decode()
    one, other = f"{number.pk},Bath 1,{number.key},{number.unit}", f"{words.pk},Bath 1,{words.key},"
    assert content.splitlines() == [
        "time,channel,instrument,key,unit,value,quality,flags,text",
        f"2026-11-21 12:00:00+00,{one},20.5,good,,",
        f'2026-11-21 12:00:00.0015+00,{one},,bad,,"open, circuit"',
        f"2026-11-21 12:00:01+00,{one},-0.1,uncertain,clock_unsure,",
        f"2026-11-21 12:00:00+00,{other},,good,,'=1+1",
        f'2026-11-21 12:00:01+00,{other},,good,instrument_time clock_unsure,""',
    ]


def test_each_number_of_a_vector_has_a_row(api: APIClient, bath: list[Channel]) -> None:
    rows = table(file(api, channel=[bath[0].pk, bath[2].pk], **HOUR))
    assert rows[0][5:8] == ["element", "value", "quality"]
    assert [row[5:8] for row in rows[4:]] == [
        ["A1", "1.5", "good"],
        ["'@2", "", "good"],
        ["0", "2.5", "good"],
    ]


def test_wide_has_a_row_for_each_time(api: APIClient, bath: list[Channel]) -> None:
    number, words, _ = bath
    rows = table(file(api, channel=[number.pk, words.pk], layout="wide", **HOUR))
    one, other = f"Bath 1 {number.key}", f"Bath 1 {words.key}"
    assert rows == [
        ["time", one, f"{one} quality", other, f"{other} quality"],
        ["2026-11-21 12:00:00+00", "20.5", "good", "'=1+1", "good"],
        ["2026-11-21 12:00:00.0015+00", "", "bad", "", ""],
        ["2026-11-21 12:00:01+00", "-0.1", "uncertain", "", "good"],
    ]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "plain", "1-1", "a=b", "'x", ""])
def test_a_text_is_no_formula_and_a_number_stays_one(api: APIClient, bath: list[Channel], text: str) -> None:
    number, words, _ = bath
    with connection.cursor() as cursor:
        cursor.execute("UPDATE sample SET text = %s WHERE channel_id = %s", [text, words.pk])
        cursor.execute("UPDATE sample SET value = -1e-300 WHERE channel_id = %s", [number.pk])
    words.instrument.name = text or "Bath 1"
    words.instrument.save()
    expected = f"'{text}" if text[:1] in tuple("=+-@\t\r") and text else text
    rows = list(
        csv.reader(
            io.StringIO(file(api, channel=[number.pk, words.pk], comments="0", **HOUR).decode(), newline="")
        )
    )
    assert {row[8] for row in rows[4:]} == {expected}
    assert {row[2] for row in rows[1:]} == {expected or "Bath 1"}
    assert {row[5] for row in rows[1:4]} == {"-1e-300"}
    wide = file(api, channel=words.pk, comments="0", layout="wide", **HOUR).decode()
    assert next(csv.reader(io.StringIO(wide, newline="")))[1] == f"{expected or 'Bath 1'} {words.key}"


def test_no_cell_of_what_csv_says_of_itself_is_a_formula() -> None:
    named = {"channels": [{"key": key} for key in (",=1", ";@x", "\t-1", '",+1', "\r\n=1", "\\,=1")]}
    lines = comments(named).decode()
    cells = [cell for line in lines.splitlines() for half in line.split(";") for cell in half.split(",")]
    assert len(lines.splitlines()) == 6
    assert not [cell for cell in cells if cell.lstrip('"')[:1] in tuple("=+-@\t\r")]
    assert {"channels": [json.loads(line[len("# channels: ") :]) for line in lines.splitlines()]} == named


def test_a_file_says_what_it_takes_to_make_it_again(api: APIClient, bath: list[Channel]) -> None:
    number, words, _ = bath
    true = number.instrument.channels.create(key="true", label="true", unit="degC")
    ComputedChannel.objects.create(channel=true, source=number)
    for days, coefficients in ((-9, [9]), (-3, [3, 1]), (0.01, [5, 1]), (9, [7])):
        Calibration.objects.create(
            channel=number, valid_from=NOON + timedelta(days=days), kind="polynomial", numbers=coefficients
        )
    Gap.objects.create(
        edge=number.instrument.edge, instrument=number.instrument, key=number.key, reason="overrun",
        start=NOON + timedelta(minutes=1), end=NOON + timedelta(minutes=2),
    )  # fmt: skip
    run = Run.objects.create(
        instrument=number.instrument, key="r7", kind="qpcr", title="Plate 7", state="completed",
        told_at=NOON, start=NOON, end=NOON + timedelta(minutes=30),
    )  # fmt: skip
    content = file(api, channel=f"{true.pk},{words.pk}", run=run.pk)
    said = told(content)
    assert said["made"][0]["by"] == "Labsite 0.1.0"
    assert datetime.fromisoformat(said["made"][0]["at"]) <= timezone.now()
    assert (said["from"], said["to"]) == (["2026-11-21T12:00:00+00:00"], ["2026-11-21T12:30:00+00:00"])
    assert [(each["key"], each["unit"], each["kind"]) for each in said["channels"]] == [
        ("true", "degC", "float"),
        (words.key, "", "text"),
    ]
    assert said["channels"][0]["calibrated_from"] == {"channel": number.pk, "key": number.key}
    assert [each["numbers"] for each in said["calibrations"]] == [[3, 1], [5, 1]]
    assert said["run"][0]["title"] == "Plate 7"
    assert set(said["quality"][0]) == {"good", "uncertain", "bad"}
    assert "gaps" not in said
    assert [gap["reasons"] for gap in told(file(api, channel=number.pk, run=run.pk))["gaps"]] == [["overrun"]]
    assert table(read(api.get(said["query"][0]["again"]))) == table(content)


def test_parquet_has_types_and_says_the_same(api: APIClient, bath: list[Channel]) -> None:
    numbers = [channel.pk for channel in bath]
    found = parquet.read_table(io.BytesIO(file(api, channel=numbers, format="parquet", **HOUR)))
    assert found.schema.field("time").type == pa.timestamp("us", "UTC")
    assert found.schema.field("value").type == pa.float64()
    rows = found.to_pylist()
    assert [row["time"] - NOON for row in rows[:2]] == [timedelta(0), timedelta(microseconds=1500)]
    assert [row["value"] for row in rows] == [20.5, None, -0.1, None, None, 1.5, None, 2.5]
    assert [row["text"] for row in rows[:5]] == [None, "open, circuit", None, "=1+1", ""]
    assert [row["element"] for row in rows[4:]] == [None, "A1", "@2", "0"]
    said = json.loads(found.schema.metadata[b"labsite"])
    assert [each["channel"] for each in said["channels"]] == numbers
    assert said["query"]["format"] == "parquet"


def test_parquet_holds_what_is_no_number(api: APIClient, bath: list[Channel]) -> None:
    with connection.cursor() as cursor:
        for second, value in enumerate((math.inf, -math.inf, math.nan, 5e-324, 1 / 3)):
            cursor.execute(
                "INSERT INTO sample (time, value, channel_id, quality) VALUES (%s, %s, %s, 1)",
                [NOON + timedelta(seconds=10 + second), value, bath[0].pk],
            )
    content = file(api, channel=bath[0].pk, format="parquet", **HOUR)
    values = parquet.read_table(io.BytesIO(content))["value"].to_pylist()[3:]
    assert values == [math.inf, -math.inf, pytest.approx(math.nan, nan_ok=True), 5e-324, 1 / 3]


@pytest.mark.parametrize("layout", ["long", "wide"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_time_without_readings_is_a_table_without_rows(
    api: APIClient, bath: list[Channel], form: str, layout: str
) -> None:
    content = file(api, channel=bath[0].pk, format=form, layout=layout, **{"from": "now", "to": "now"})
    if form == "csv":
        assert len(table(content)) == 1
    else:
        assert parquet.read_table(io.BytesIO(content)).num_rows == 0


@pytest.fixture
def readings() -> Readings:
    return rolled_up()


@pytest.mark.parametrize("layout", ["long", "wide"])
@pytest.mark.parametrize("resolution", ["minute", "hour"])
def test_what_is_rolled_up_is_exact_too(
    api: APIClient, readings: Readings, resolution: str, layout: str
) -> None:
    width = timedelta(minutes=1) if resolution == "minute" else timedelta(hours=1)
    content = file(
        api, channel=[each.pk for each in readings.channels], resolution=resolution, layout=layout,
        **{"from": (NOW - DAY).isoformat(), "to": NOW.isoformat()},
    )  # fmt: skip
    rows = table(content)[1:]
    if layout == "long":
        found: list[Any] = [
            (row[0], int(row[5]), *map(number, row[7:10]))
            for row in rows
            if row[1] == str(readings.number.pk)
        ]
    else:
        found = [(row[0], 0, *map(number, row[1:4])) for row in rows if row[2]]
    said = [
        (datetime.fromtimestamp(at / 1000, UTC), n if layout == "long" else 0, low, mean, high)
        for at, n, _bad, low, high, mean, _last, _text in readings.said(
            readings.number, NOW - DAY, NOW, width
        )
        if layout == "long" or n
    ]
    assert [(datetime.fromisoformat(at), n) for at, n, *_ in found] == [each[:2] for each in said]
    assert [each[2:] for each in found] == [pytest.approx(each[2:]) for each in said]


def number(cell: str) -> float | None:
    return float(cell) if cell else None


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({}, "channel"),
        ({"channel": "x"}, "channel"),
        ({"channel": "OWN", "format": "xlsx"}, "format"),
        ({"channel": "OWN", "resolution": "day"}, "resolution"),
        ({"channel": "OWN", "layout": "tall"}, "layout"),
        ({"channel": "VECTORS", "layout": "wide"}, "layout"),
        ({"channel": "OWN", "run": "7"}, "run"),
        ({"channel": "OWN", "run": "x"}, "run"),
        ({"channel": "OWN", "comments": "no"}, "comments"),
        ({"channel": "OWN", "from": "yesterday"}, "from"),
        ({"channel": "OWN", "from": "-1h", "to": "-2h"}, "from"),
        ({"channel": "OWN", "points": "7"}, "points"),
        ({"channel": "OWN", "page_size": "7"}, "page_size"),
    ],
)
def test_a_wrong_question_names_its_parameter(
    api: APIClient, bath: list[Channel], query: dict[str, str], parameter: str
) -> None:
    named = {"OWN": str(bath[0].pk), "VECTORS": str(bath[2].pk)}
    answer = api.get(URL, {name: named.get(value, value) for name, value in query.items()})
    assert (answer.status_code, list(answer.json())) == (400, [parameter])


@pytest.fixture
def under_way(api: APIClient, bath: list[Channel]) -> Iterator[Any]:
    answer = api.get(URL, {"channel": bath[0].pk})
    with closing(answer):
        yield answer


def test_a_person_has_one_export_at_a_time(api: APIClient, bath: list[Channel], under_way: Any) -> None:
    refused = api.get(URL, {"channel": bath[0].pk})
    assert (refused.status_code, refused["Retry-After"]) == (429, "10")
    assert "You have an export under way" in refused.json()["detail"]
    assert table(file(factories.client(factories.person("other")), channel=bath[0].pk))
    under_way.close()
    assert table(file(api, channel=bath[0].pk))


def test_there_are_so_many_at_once(bath: list[Channel]) -> None:
    answers = [
        factories.client(factories.person(f"p{number}")).get(URL, {"channel": bath[0].pk})
        for number in range(4)
    ]
    for answer in answers:
        answer.close()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert "3 exports are under way" in answers[3].json()["detail"]


def test_nothing_is_read_for_whoever_only_asks_for_its_head(api: APIClient, bath: list[Channel]) -> None:
    assert api.head(URL, {"channel": bath[0].pk}).status_code == 405


def test_the_command_writes_the_same(api: APIClient, bath: list[Channel], tmp_path: Path) -> None:
    path = tmp_path / "bath.csv"
    call_command("export_data", path, channel=[str(bath[0].pk)], start=HOUR["from"], end=HOUR["to"])
    assert table(path.read_bytes()) == table(file(api, channel=bath[0].pk, **HOUR))
    for name, start in (("bath.xlsx", "-1h"), ("bath.csv", "yesterday")):
        with pytest.raises(CommandError, match=r"must end in|is no time"):
            call_command("export_data", tmp_path / name, channel=[str(bath[0].pk)], start=start)


def test_columns_of_two_channels_are_never_called_alike() -> None:
    of = factories.instrument("a b")
    other = factories.instrument("a")
    channels = [of.channels.create(key="c", label="c"), other.channels.create(key="b c", label="c")]
    question = export.Question(channels, NOON, NOON, layout=export.Layout.WIDE)
    assert [column.name for column in question.columns[1::2]] == [f"a b c {each.pk}" for each in channels]
