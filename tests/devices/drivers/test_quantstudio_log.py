"""QuantStudio's log and files against the real lines of its protocol notes (§3, §4, §7)."""

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices.drivers.quantstudio_files import (
    conditions,
    filter_data,
    fluorescence,
    last_quants,
    plate_setup,
    time_of,
    well_names,
)
from devices.drivers.quantstudio_log import LogReader, Point, stamped
from devices.errors import ReplyError
from devices.readings import RUN_STATES, Event, Quality, Reading, Run, Said, Vector

AT = 1_763_430_787_793_000
TEMPERATURE = (
    "-sample=36.4,35.9,36.0,36.0,35.9,36.5 -heatsink=35.7 -cover=104.7 -block=36.4,35.9,36.0,36.0,35.9,36.5"
)
ZONES = "Zone1,Zone2,Zone3,Zone4,Zone5,Zone6"
READ = ("25.3788", "25.2887", "25.2915", "25.2974", "25.284", "25.3838")
RUN = [
    'Starting "qslib-new-test"',
    "Setting sample volume to 50 microlitres",
    "Stage PRERUN",
    "Cycle 1",
    "Ramping -zones=Cover -targets=105.000 -rates=0.049",
    "Ramped -zones=Cover -targets=105.000 -rates=0.049",
    "Lamp is warmed up",
    "Stage 1",
    "Cycle 1",
    "Step 1",
    f"Ramping -zones={ZONES} -targets={','.join(['25.000'] * 6)} -rates={','.join(['1.600'] * 6)}",
    "Holding -time=60 -collecting=True",
    f'Acquiring -run="qslib-new-test" -stage=1 -cycle=1 -point=1 -Temperature={",".join(READ)}',
    'Collected -run="qslib-new-test" -stage=1 -cycle=1 -step=1 -point=1',
    "Cycle 2",
]
END = ['Completed "qslib-new-test"', "Stage POSTRun", "Cycle 1", 'Ended "qslib-new-test"']


def values(said: list[Said]) -> dict[str, Any]:
    return {each.key: each.value for each in said if isinstance(each, Reading)}


def event(said: list[Said]) -> Event:
    (found,) = (each for each in said if isinstance(each, Event))
    return found


def runs(said: list[Said]) -> list[Run]:
    return [each for each in said if isinstance(each, Run)]


def heard(*lines: str, reader: LogReader | None = None) -> tuple[LogReader, list[Said]]:
    """Lines of the topic Run, a second apart."""
    reader = reader or LogReader(6)
    said: list[Said] = []
    for second, line in enumerate(lines):
        said += reader.hear("Run", AT + second * 1_000_000, line)
    return reader, said


# ---- once a second


@pytest.mark.parametrize(
    ("text", "time", "rest"),
    [
        ("1763430787.793 -sample=1", AT, "-sample=1"),
        ("1763430733.066 x y", 1_763_430_733_066_000, "x y"),
        ("-sample=1", None, "-sample=1"),
        ("12 -x", None, "12 -x"),
        ("nan x", None, "nan x"),
        ("1e300 x", None, "1e300 x"),
        ("", None, ""),
    ],
)
def test_a_line_may_begin_with_its_time(text: str, time: int | None, rest: str) -> None:
    assert stamped(text) == (time, rest)


def test_temperatures_are_those_of_the_notes_each_with_the_machines_own_time() -> None:
    said = LogReader(6).hear("Temperature", AT, TEMPERATURE)
    assert values(said) == {
        "sample.1": 36.4, "sample.2": 35.9, "sample.3": 36.0,
        "sample.4": 36.0, "sample.5": 35.9, "sample.6": 36.5,
        "block.1": 36.4, "block.2": 35.9, "block.3": 36.0,
        "block.4": 36.0, "block.5": 35.9, "block.6": 36.5,
        "heatsink": 35.7, "cover": 104.7,
    }  # fmt: skip
    assert all(
        isinstance(each, Reading) and each.time == AT and each.quality is Quality.GOOD for each in said
    )


def test_a_zone_that_cannot_be_read_is_bad_and_spoils_no_other() -> None:
    said = LogReader(6).hear("Temperature", AT, TEMPERATURE.replace("36.0", "nan", 1).replace("104.7", "-"))
    bad = {each.key for each in said if isinstance(each, Reading) and each.quality is Quality.BAD}
    assert bad == {"sample.3", "cover"}
    assert len(said) == 14


def test_zones_cut_short_are_all_bad_as_nobody_knows_which_are_missing() -> None:
    said = LogReader(6).hear("Temperature", AT, "-sample=36.4,35.9,3")
    assert values(said) == {f"sample.{zone}": None for zone in range(1, 7)}


def test_another_number_of_zones_is_as_it_comes_where_it_is_not_known() -> None:
    assert values(LogReader(None).hear("Temperature", AT, "-sample=25.0,25.1 -block=25.0,25.2")) == {
        "sample.1": 25.0, "sample.2": 25.1, "block.1": 25.0, "block.2": 25.2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-elapsed=192 -active=2 -remaining=298", {"elapsed": 192.0, "active": 2.0, "remaining": 298.0}),
        ("-elapsed=0 -remaining=300", {"elapsed": 0.0, "remaining": 300.0}),
    ],
)
def test_run_time_has_what_is_there(text: str, found: dict[str, float]) -> None:
    said = LogReader(6).hear("Time", AT, text)
    assert values(said) == {f"run.{name}": value for name, value in found.items()}


def test_led_status_has_colons() -> None:
    text = "Temperature:54.1342 Current:9.50963 Voltage:3.12903 JuncTemp:69.8972"
    assert values(LogReader(6).hear("LEDStatus", AT, text)) == {
        "led.temperature": 54.1342, "led.current": 9.50963, "led.voltage": 3.12903, "led.junction": 69.8972,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "text", "kind", "told"),
    [
        ("Warning", "Catching up", "log_warning", "Catching up"),
        ("Info", "<quote.message>\ntwo\nlines\n</quote.message>", "log_info", "two\nlines"),
        ("System", "Access -sessionid=534 -level=Observer -exclusive=False", "log_system", None),
        ("Event", "-severity=Info -subsystem=TBC -id=0x803F -text='x' -data=y", "log_event", None),
        ("Debug", "Cover Raising", "log_debug", "Cover Raising"),
    ],
)
def test_other_topics_are_events(topic: str, text: str, kind: str, told: str | None) -> None:
    found = event(LogReader(6).hear(topic, AT, text))
    assert (found.kind, found.text, found.time) == (kind, told or text, AT)


@pytest.mark.parametrize("text", ["C: 2 AUTH 5d1997d0ae2fce381068f8570e805045", "S: OK 16"])
def test_the_echo_of_commands_is_not_kept(text: str) -> None:
    assert LogReader(6).hear("Debug", AT, text) == []


# ---- the run


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("Cycle 2", {"type": "cycle", "cycle": 2}),
        ("Stage PRERUN", {"type": "stage", "stage_name": "PRERUN"}),
        ("Holding -time=60", {"type": "holding", "holdtime": 60.0}),
        (RUN[4], {"type": "ramping", "target_Cover": 105.0, "rate_Cover": 0.049}),
        (RUN[10], {"type": "ramping"} | {f"{what}_Zone{zone}": value for zone in range(1, 7)
                                         for what, value in (("target", 25.0), ("rate", 1.6))}),
        (RUN[12], {"type": "acquiring", "stage": 1, "cycle": 1, "point": 1}
         | {f"temperature_zone_{zone}": float(text) for zone, text in enumerate(READ)}),
        (RUN[13], {"type": "collected", "stage": 1, "cycle": 1, "step": 1, "point": 1}),
        ("Lamp is warmed up", {"type": "Other", "message": "Lamp is warmed up"}),
        ("Ended", {"type": "ended"}),
    ],
)  # fmt: skip
def test_what_a_run_does_is_an_event_with_the_fields_of_the_replaced_monitor(
    line: str, fields: dict[str, Any]
) -> None:
    _, said = heard(line)
    assert event(said) == Event("run_action", line, fields, AT)


def test_a_run_is_told_from_its_start_to_its_end() -> None:
    reader, said = heard(*RUN)
    told = runs(said)
    assert {run.id for run in told} == {f"qslib-new-test {AT // 1_000_000}"}
    assert {run.title for run in told} == {"qslib-new-test"}
    assert {run.start for run in told} == {AT}
    assert told[-1].fields == {"stage": "1", "cycle": 2, "point": 1}
    assert (told[-1].state, told[-1].end) == ("running", None)
    assert reader.run == "qslib-new-test"
    _, said = heard(*END, reader=reader)
    last = runs(said)[-1]
    assert (last.state, last.progress, last.start, last.end) == ("completed", 1.0, AT, AT + 3_000_000)
    assert reader.run == ""


def test_stage_cycle_and_step_are_readings_too_and_prerun_keeps_its_name() -> None:
    _, said = heard(*RUN[:3])
    assert values(said) == {"run.stage_name": "PRERUN"}
    _, said = heard(*RUN[6:10])
    assert values(said) == {"run.stage": 1, "run.stage_name": "1", "run.cycle": 1, "run.step": 1}


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        (['Aborted "a"', "Stage POSTRun", 'Ended "a"'], "aborted"),
        (['Stopped "a"', 'Ended "a"'], "aborted"),
        (['Error "a" in block', 'Ended "a"'], "failed"),
        (['Ended "a"'], "aborted"),
        (['Completed "a"', 'Ended "a"'], "completed"),
    ],
)
def test_how_a_run_ended(lines: list[str], state: str) -> None:
    reader, said = heard('Starting "a"', "Stage 1", *lines)
    assert runs(said)[-1].state == state
    assert runs(said)[-1].end == AT + (1 + len(lines)) * 1_000_000
    assert reader.run == ""


def test_a_run_of_which_the_beginning_was_not_heard_ends_in_an_unknown_way() -> None:
    reader = LogReader(6)
    reader.adopt("a", None, AT)
    _, said = heard("Cycle 2", 'Ended "a"', reader=reader)
    assert runs(said)[-1].state == "unknown"


def test_the_next_run_ends_one_that_nobody_saw_end() -> None:
    _, said = heard('Starting "a"', 'Starting "b"')
    assert [(run.title, run.state) for run in runs(said)] == [
        ("a", "running"),
        ("a", "unknown"),
        ("b", "running"),
    ]


@pytest.mark.parametrize("name", ["a b", 'a "b"', "-a", "007", "ä<quote>", "x" * 500])
def test_names_are_kept_as_they_are(name: str) -> None:
    quoted = name.replace('"', '\\"')
    reader, _ = heard(f'Starting "{quoted}"')
    assert reader.run == name[:200]


def test_progress_is_told_in_hundredths() -> None:
    reader, _ = heard('Starting "a"')
    told = []
    for second in range(100):
        text = f"-elapsed={second} -active={second} -remaining={2_000 - second}"
        told += runs(reader.hear("Time", AT + second * 1_000_000, text))
    assert 3 < len(told) < 8
    assert told[-1].progress == pytest.approx(0.045, abs=0.01)


def test_pauses_are_states_of_a_run() -> None:
    _, said = heard('Starting "a"', 'Paused "a"', 'Resumed "a"')
    assert [run.state for run in runs(said)] == ["running", "paused", "running"]


def test_a_collected_point_is_there_to_be_read_with_the_targets_of_its_zones() -> None:
    reader, _ = heard(*RUN)
    (point,) = reader.points
    assert point.stem == "S01_C001_T01_P0001"
    assert (point.run, point.run_id) == ("qslib-new-test", f"qslib-new-test {AT // 1_000_000}")
    assert dict(point.targets)["Zone3"] == 25.0
    assert Point("a", "a", None, 1, 12_345, 1, 1, None, ()).stem == "S01_C12345_T01_P0001"


printable = st.text(st.characters(codec="utf-8"), max_size=80)
words = st.sampled_from(
    [*"-=,<>\"'", "sample", "Stage ", "Cycle ", "Collected ", "-run=", "9" * 30, "1e999", "nan"]
)
lines = (
    printable
    | st.lists(words | printable, max_size=8).map("".join)
    | st.sampled_from([*RUN, *END, TEMPERATURE])
)


@given(
    st.lists(
        st.tuples(st.sampled_from(["Temperature", "Time", "LEDStatus", "Run", "Info", "ä"]), lines),
        max_size=12,
    )
)
def test_no_line_does_more_than_say_little(said: list[tuple[str, str]]) -> None:
    reader = LogReader(6)
    for number, (topic, text) in enumerate(said):
        for each in reader.hear(topic, AT + number if number % 3 else None, text):
            if isinstance(each, Reading):
                assert each.value is not None or each.quality is Quality.BAD
                assert not isinstance(each.value, float) or math.isfinite(each.value)
            elif isinstance(each, Run):
                assert each.state in RUN_STATES
                json.dumps(each.fields, allow_nan=False)
            else:
                assert isinstance(each, Event)
                json.dumps(each.fields, allow_nan=False)


def test_a_long_line_takes_little_time() -> None:
    begun = time.process_time()
    for text in ("-sample=" + "1," * 30_000, "Ramping -zones=" + "a," * 2_000, "x" * 60_000, "-a=" * 20_000):
        for topic in ("Temperature", "Time", "LEDStatus", "Run", "Info"):
            LogReader(6).hear(topic, AT, text)
    assert time.process_time() - begun < 5


# ---- files

WELLS = " ".join(str(index * 100.5 - 50) for index in range(96))
XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<PlatePointDataCollection><Name>FilterData</Name><PlatePointData>
<Stage>1</Stage><Cycle>1</Cycle><Step>1</Step><Point>1</Point>
<PlateData><Rows>8</Rows><Cols>12</Cols><WellData>{WELLS}</WellData>
<Attribute><key>FILTER_SET</key><value>x1-m1</value></Attribute>
<Attribute><key>EXPOSURE</key><value>140</value></Attribute>
<Attribute><key>TYPE</key><value>QUANT</value></Attribute>
<Attribute><key>TEMPERATURE</key><value>25.0004,25.1,25.2,25.3,25.4,25.5</value></Attribute>
</PlateData></PlatePointData></PlatePointDataCollection>"""
QUANT = "\n".join(
    [
        "[conditions]",
        "Exposure\tTime\tBlockTemperature",
        "100\t1763430787.900\t25.1",
        "",
        "[quant]",
        "IA1\t1\t2\t3",
    ]
)
POINT = Point("r", "r 1", AT, 1, 1, 1, 1, AT, tuple((f"Zone{zone}", 25.0) for zone in range(1, 7)))


def test_filter_data_is_a_vector_by_wells_at_the_time_of_its_exposure() -> None:
    (plate,) = filter_data(XML)
    reading, about = fluorescence(POINT, plate, conditions(QUANT))
    assert isinstance(reading, Reading)
    assert isinstance(reading.value, Vector)
    assert (reading.key, reading.time) == ("fluorescence.x1-m1", 1_763_430_787_900_000)
    assert reading.value.labels[:2] == ("A1", "A2")
    assert reading.value.labels[-1] == "H12"
    assert reading.value.values[:2] == (-50.0, 50.5)
    assert isinstance(about, Event)
    assert about.time == reading.time
    assert about.fields["filter_set"] == "x1-m1"
    assert about.fields["temperature_read"][0] == 25.0004
    assert about.fields["temperature_set"] == [25.0] * 6
    assert about.fields["exposure"] == 140


def test_without_a_quant_file_the_time_is_that_of_the_log() -> None:
    (plate,) = filter_data(XML)
    assert {each.time for each in fluorescence(POINT, plate, {})} == {AT}


def test_the_last_exposure_counts_whatever_the_widths() -> None:
    stem = "S01_C001_T01_P0001_M1_X1"
    paths = [f"r/quant/{stem}_E{number}.quant" for number in (1, 10, 2)]
    assert last_quants([*paths, "r/quant/other.quant"]) == {stem: paths[1]}


def test_conditions_go_by_their_header() -> None:
    assert conditions(QUANT) == {"Exposure": 100.0, "Time": 1763430787.9, "BlockTemperature": 25.1}
    assert time_of(conditions(QUANT)) == 1_763_430_787_900_000
    assert time_of({"Time": 12.0}) is None


def test_wells_have_names() -> None:
    assert well_names(8, 12)[11:13] == ("A12", "B1")
    assert well_names(32, 48)[-1] == "AF48"


def test_samples_are_found_however_often_they_are_written() -> None:
    sample = "<FeatureItem><Sample><Name>{}</Name></Sample></FeatureItem>"
    value = f"<FeatureValue><Index>{{}}</Index>{sample}</FeatureValue>"
    listed = value.format(0, "s1") + value.format(13, "my sample") + value.format(400, "beyond")
    feature = f"<FeatureMap><Feature><Id>sample</Id></Feature>{listed}</FeatureMap>"
    kind = "<PlateKind><Type>TYPE_8X12</Type></PlateKind>"
    assert plate_setup(f"<Plate>{kind}{feature}{feature}</Plate>") == (8, 12, {"A1": "s1", "B2": "my sample"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        XML[:300],
        XML.replace("<Rows>8", "<Rows>9"),
        XML.replace("<Rows>8", "<Rows>x"),
        XML.replace("x1-m1", "nothing"),
        XML.replace("<?xml", '<!DOCTYPE a [<!ENTITY a "b">]><?xml'),
        XML.replace('"UTF-8"', '"none-such"').replace("<Rows>8</Rows>", ""),
        "<PlatePointDataCollection/>",
    ],
)
def test_filter_data_that_cannot_be_used_is_a_reply_error(text: str) -> None:
    with pytest.raises(ReplyError):
        filter_data(text)


def damaged(draw: st.DrawFn) -> str:
    text = list(draw(st.sampled_from([XML, QUANT])))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text) - 1))
        text[at : at + draw(st.integers(0, 5))] = list(draw(st.text(max_size=5)))
    return "".join(text)


@given(st.text(max_size=300) | st.composite(damaged)())
def test_no_file_does_more_than_a_reply_error(text: str) -> None:
    for take in (filter_data, conditions, plate_setup):
        try:
            found = take(text)
        except ReplyError:
            continue
        if take is filter_data:
            for plate in found:
                for each in fluorescence(POINT, plate, {}):  # type: ignore[arg-type]
                    assert each.time == AT
