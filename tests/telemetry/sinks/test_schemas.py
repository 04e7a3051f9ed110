"""What the replaced programs wrote: their points, line by line, from what Labsite stores of the same."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from devices.drivers.quantstudio_log import LogReader, stamped
from devices.models import Channel, Edge, Instrument
from devices.readings import Event, Reading, Said
from devices.wire import Batch, EventRow, VectorRow
from labsite import pipeline
from telemetry import outbox
from telemetry.models import Sink
from telemetry.outbox import Position
from telemetry.sinks import told
from telemetry.sinks.directory import Directory, about
from telemetry.sinks.schemas import form, is_for
from tests.telemetry import factories
from tests.telemetry.factories import new_spool, parcel

pytestmark = pytest.mark.django_db

FLUORESCENCE_AT = 1_763_430_787_900_000


@pytest.fixture
def edge() -> Any:
    return factories.edge()


def instrument(
    edge: Any, name: str, driver: str, channels: dict[str, str], kind: str = "float"
) -> Instrument:
    made = Instrument.objects.create(name=name, driver=driver, edge=edge, address="tcp://127.0.0.1:1")
    for key, unit in channels.items():
        of = "vector" if key.startswith("fluorescence.") else kind
        Channel.objects.create(instrument=made, key=key, label=key, unit=unit, kind=of)
    return made


def sink(schema: str, **more: Any) -> Sink:
    """One that is fed from the beginning of the outbox."""
    return Sink.objects.create(name=schema, schema=schema, url="http://127.0.0.1:1", bucket="lab", **more)


def ingest(batch: Batch, now: datetime) -> None:
    outcome = pipeline.ingest(Edge.objects.get(name="bench"), parcel(batch, spool=new_spool()), now)
    assert not outcome.rejected


def points(of: Sink) -> list[str]:
    """All that it would be fed with so far. (Of this transaction, which nothing else can read.)"""
    lines: list[str] = []
    for row in unread():
        formed = form(told.of_payload(row.payload, row.stored_at), of, Directory())
        lines += formed.lines
    return lines


def unread() -> Iterable[outbox.Row]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT xid::text, id, stored_at, payload FROM outbox ORDER BY xid, id")
        return [
            outbox.Row(Position(int(xid), number), stored_at, bytes(payload))
            for xid, number, stored_at, payload in cursor.fetchall()
        ]


def said(of: Instrument, heard: Iterable[Said]) -> Batch:
    """What a driver says, as its edge sends it."""
    rows: list[int] = []
    keysets: list[list[str]] = []
    values: list[Any] = []
    texts: dict[str, str] = {}
    events: list[EventRow] = []
    before = 0
    for each in heard:
        if isinstance(each, Reading):
            rows += [0, len(keysets), (each.time or 0) - before]
            before = each.time or 0
            keysets.append([each.key])
            if isinstance(each.value, str):
                texts[str(len(values))] = each.value
            values.append(each.value if isinstance(each.value, int | float) else None)
        elif isinstance(each, Event):
            events.append(EventRow(0, each.time or 0, each.kind, each.text, dict(each.fields)))
    return Batch(
        instruments=[str(of.pk)], keysets=keysets, rows=rows, values=values, texts=texts, events=events
    )


QPCR = {
    **{f"{name}.{zone}": "Cel" for name in ("sample", "block") for zone in (1, 2)},
    "cover": "Cel", "heatsink": "Cel", "run.elapsed": "s", "run.active": "s", "run.remaining": "s",
    "led.temperature": "Cel", "led.current": "A", "led.voltage": "V", "led.junction": "Cel",
    "asked.cover": "Cel", "fluorescence.x1-m1": "",
}  # fmt: skip

# Lines of the machine's log, and the points that qs-monitor made of them (its machine called qpcr1).
RUN = 'run_name="qslib-new-test"'
LOG: list[tuple[str, str, set[str]]] = [
    (
        "Temperature",
        "1739920066.918 -sample=36.4,25.0 -heatsink=35.7 -cover=40.1 -block=36.4,25.5",
        {
            "temperature,loc=zones,machine=qpcr1,zone=0 block=36.4,sample=36.4 1739920066918000000",
            "temperature,loc=zones,machine=qpcr1,zone=1 block=25.5,sample=25 1739920066918000000",
            "temperature,loc=heatsink,machine=qpcr1 heatsink=35.7 1739920066918000000",
            "temperature,loc=cover,machine=qpcr1 cover=40.1 1739920066918000000",
        },
    ),
    (
        "Time",
        "1763430733.066 -elapsed=192 -remaining=298 -active=2",
        {"run_time,machine=qpcr1 active=2,elapsed=192,remaining=298 1763430733066000000"},
    ),
    (
        "LEDStatus",
        "1739920066.578 Temperature:54.1342 Current:9.50963 Voltage:3.12903 JuncTemp:69.8972",
        {
            (
                "lamp,machine=qpcr1 current=9.50963,junctemp=69.8972,temperature=54.1342,voltage=3.12903"
                " 1739920066578000000"
            )
        },
    ),
    (
        "Run",
        "1763430700.5 Starting qslib-new-test",
        {f'run_action,machine=qpcr1,type=starting message="qslib-new-test",{RUN} 1763430700500000000'},
    ),
    (
        "Run",
        "1763430792.63 Cycle 2",
        {
            f"run_action,machine=qpcr1,type=cycle cycle=2i,{RUN} 1763430792630000000",
            "run_status,machine=qpcr1,type=cycle cycle=2i 1763430792630000000",
        },
    ),
    (
        "Run",
        "1763430701.0 Stage PRERUN",
        {f'run_action,machine=qpcr1,type=stage {RUN},stage_name="PRERUN" 1763430701000000000'},
    ),
    (
        "Run",
        "1763430731.834 Lamp is warmed up",
        {f'run_action,machine=qpcr1,type=Other message="Lamp is warmed up",{RUN} 1763430731834000000'},
    ),
    (
        "Run",
        "1763430740.25 Holding -time=120 -collecting=False",
        {f"run_action,machine=qpcr1,type=holding holdtime=120,{RUN} 1763430740250000000"},
    ),
    (
        "Run",
        "1763430741.25 Ramping -zones=Zone1,Cover -targets=95.0,105.0 -rates=100.0,90.5",
        {
            (
                f"run_action,machine=qpcr1,type=ramping rate_Cover=90.5,rate_Zone1=100,{RUN},"
                "target_Cover=105,target_Zone1=95 1763430741250000000"
            )
        },
    ),
    (
        "Run",
        "1763430742.25 Acquiring -stage=1 -cycle=1 -step=1 -point=1 -Temperature=25.0,25.1",
        {
            (
                f"run_action,machine=qpcr1,type=acquiring cycle=1i,point=1i,{RUN},stage=1i,"
                "temperature_zone_0=25,temperature_zone_1=25.1 1763430742250000000"
            )
        },
    ),
    (
        "Run",
        "1763430743.25 Collected -stage=1 -cycle=1 -step=1 -point=1",
        {
            (
                f"run_action,machine=qpcr1,type=collected cycle=1i,point=1i,{RUN},stage=1i,step=1i"
                " 1763430743250000000"
            )
        },
    ),
    (
        "Run",
        "1763430744.25 Completed",
        {f'run_action,machine=qpcr1,type=Other message="Completed",{RUN} 1763430744250000000'},
    ),
    (
        "Run",
        "1763430745.25 Ended",
        {f"run_action,machine=qpcr1,type=ended {RUN} 1763430745250000000"},
    ),
]


def without_less_than_a_microsecond(line: str) -> str:
    """By which messages of one time are told apart; the machine has written none of it."""
    of, time = line.rsplit(" ", 1)
    return f"{of} {int(time) // 1000 * 1000}"


def test_qs_monitor_line_by_line(edge: Any) -> None:
    qpcr = instrument(edge, "qpcr1", "quantstudio", QPCR)
    other = instrument(edge, "bath", "thermostat", {"cover": "Cel"})
    copy = sink("qs-monitor")
    reader = LogReader(2)
    seen = 0
    for topic, text, expected in LOG:
        time, rest = stamped(text)
        now = datetime.fromtimestamp((time or 0) / 1e6 + 1, UTC)
        ingest(said(qpcr, reader.hear(topic, time, rest)), now)
        found = points(copy)
        lines = {without_less_than_a_microsecond(line) for line in found[seen:]}
        assert lines == expected, text
        seen = len(found)
    ingest(
        said(other, [Reading("cover", 25.0, time=FLUORESCENCE_AT)]), datetime.fromtimestamp(1763430788, UTC)
    )
    assert len(points(copy)) == seen  # what is no QuantStudio is not for it
    assert not is_for(about(other), copy)


def fluorescence(of: Instrument) -> tuple[Batch, Batch, Batch]:
    """A plate of two rows, four columns and two zones: what is in it, its values, what is known of them."""
    time = FLUORESCENCE_AT
    plate = {"run_name": "qslib-new-test", "rows": 2, "columns": 4, "samples": {"A1": "s1", "B4": 'a "b"'}}
    known = {
        "run_name": "qslib-new-test", "filter_set": "x1-m1", "stage": 1, "cycle": 1, "step": 1, "point": 1,
        "rows": 2, "columns": 4, "temperature_read": [25.0004, 30.5], "temperature_set": [25.0, 30.0],
    }  # fmt: skip
    wells = [27478.621508115197, None, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    bare = partial(Batch, instruments=[str(of.pk)], keysets=[], rows=[], values=[])
    return (
        bare(events=[EventRow(0, time - 1_000_000, "platesetup", "qslib-new-test", plate)]),
        bare(vectors=[VectorRow(0, "fluorescence.x1-m1", time, wells, -1)]),
        bare(events=[EventRow(0, time, "filterdata", "S01 x1-m1", known)]),
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1)], ids=["vector first", "event first"])
def test_qs_monitors_fluorescence_is_there_as_soon_as_both_parts_are_stored(
    edge: Any, order: tuple[int, int, int]
) -> None:
    qpcr = instrument(edge, "qpcr1", "quantstudio", QPCR)
    copy = sink("qs-monitor")
    parts = fluorescence(qpcr)
    now = datetime.fromtimestamp(FLUORESCENCE_AT / 1e6 + 1, UTC)
    for number in order[:2]:
        ingest(parts[number], now)
    assert points(copy) == []
    ingest(parts[order[2]], now)
    lines = sorted(set(points(copy)))
    assert len(lines) == 7 + 8
    assert lines[0] == (
        "filterdata,col=01,filter_set=x1-m1,machine=qpcr1,row=A cycle=1i,fluorescence=27478.621508115197,"
        'point=1i,run_name="qslib-new-test",sample="s1",stage=1i,step=1i,temperature_read=25.0004,'
        "temperature_set=25 1763430787900000000"
    )
    assert (
        "filterdata,col=04,filter_set=x1-m1,machine=qpcr1,row=B cycle=1i,fluorescence=8,point=1i,"
        'run_name="qslib-new-test",sample="a \\"b\\"",stage=1i,step=1i,temperature_read=30.5,'
        "temperature_set=30 1763430787900000000"
    ) in lines
    assert (
        'platesetup,col=01,machine=qpcr1,row=A,run_name=qslib-new-test sample="s1" 1763430787900000000'
        in lines
    )
    assert (
        'platesetup,col=02,machine=qpcr1,row=A,run_name=qslib-new-test sample="" 1763430787900000000' in lines
    )


def test_filament_box(edge: Any) -> None:
    box = instrument(edge, "box 1", "bme280", {"temperature": "Cel", "humidity": "%", "pressure": "hPa"})
    room = instrument(edge, "room", "mqtt_in", {"temperature": "Cel"})
    copy = sink("filament-box", tags={"location": "garage", "sensor": "{instrument}"})
    now = timezone.now()
    time = round(now.timestamp() * 1e6)
    one = Batch(
        instruments=[str(box.pk), str(room.pk)],
        keysets=[["temperature", "humidity", "pressure"], ["temperature"]],
        rows=[0, 0, time, 1, 1, 0, 0, 0, 250_000, 0, 0, 250_000],
        values=[21.5, 40.25, 1013.0, 30.0, 22.0, None, None, None, None, None],
        qualities=[0, 0, 0, 0, 0, 2, 2, 2, 2, 2],
    )
    ingest(one, now)
    tags = "environment,location=garage,sensor=box\\ 1"
    assert points(copy) == [
        f"{tags} humidity=40.25,temperature_c=21.5,temperature_f=70.7 {time * 1000}",
        f"{tags} temperature_c=22,temperature_f=71.6 {(time + 250_000) * 1000}",
    ]
    copy.only, copy.measurement, copy.tags = {"instrument": ["room", "hall"]}, "air", {}
    assert points(copy) == [f"air temperature_c=30,temperature_f=86 {time * 1000}"]


def test_our_own(edge: Any) -> None:
    bath = instrument(edge, "Bath, 1", "thermostat", {"a": "Cel", "fluorescence.x": ""})
    state = instrument(edge, "state", "scpi", {"b": ""}, kind="text")
    bath.tags = ["room-214"]
    bath.save()
    now = timezone.now()
    time = round(now.timestamp() * 1e6)
    copy = sink("labsite")
    one = Batch(
        instruments=[str(bath.pk), str(state.pk)],
        keysets=[["a"], ["b"]],
        rows=[0, 0, time, 1, 1, 1, 0, 0, 86_400_000_000],
        values=[1.0, None, 2.0],
        texts={"1": 'on "x"'},
        qualities=[1, 2, 0],
        vectors=[
            VectorRow(0, "fluorescence.x", time, [0.5, None], 0),
            VectorRow(0, "fluorescence.x", time + 1, [0.0] * 2001, -1),
        ],
        labels=[["A1", "B,2"]],
    )
    ingest(one, now)
    wells = "thermostat,channel=fluorescence.x,instrument=Bath\\,\\ 1"
    assert points(copy) == [  # without what is a day ahead
        f"thermostat,channel=a,instrument=Bath\\,\\ 1,unit=Cel quality=1i,value=1 {time * 1000}",
        f'scpi,channel=b,instrument=state quality=2i,text="on \\"x\\"" {(time + 1) * 1000}',
        f"{wells},label=A1 quality=0i,value=0.5 {time * 1000}",
        f"{wells},label=B\\,2 quality=0i {time * 1000}",
    ]
    (row,) = unread()
    (refused,) = form(told.of_payload(row.payload, row.stored_at), copy, Directory()).refused
    assert refused.words == "2001 values: more than 2000"
    copy.measurement, copy.tags = "lab", {"instrument": "renamed", "site": "B"}
    assert points(copy)[0].startswith("lab,channel=a,instrument=renamed,site=B,unit=Cel ")


@pytest.mark.parametrize(
    ("only", "taken"),
    [
        ({}, True),
        ({"driver": "thermostat"}, True),
        ({"driver": ["scpi", "thermostat"], "edge": "bench"}, True),
        ({"tag": "room-214"}, True),
        ({"tag": ["x", "room-214"], "instrument": "bath"}, True),
        ({"tag": "x"}, False),
        ({"driver": "thermostat", "edge": "other"}, False),
        ({"instrument": "Bath"}, False),
    ],
)
def test_which_instruments_a_sink_is_for(edge: Any, only: dict[str, Any], taken: bool) -> None:
    bath = instrument(edge, "bath", "thermostat", {})
    bath.tags = ["room-214", "laser"]
    assert is_for(about(bath), Sink(schema="labsite", only=only)) is taken


def test_labels_as_postgresql_writes_them() -> None:
    assert told._words('{A1,"B \\"2\\"","c\\\\d",NULL}') == ["A1", 'B "2"', "c\\d", "NULL"]
    assert told._words("{}") == []
