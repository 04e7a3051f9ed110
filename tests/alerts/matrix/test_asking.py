"""What the bot tells of instruments."""

from collections.abc import Mapping
from datetime import timedelta

import pytest

from alerts.matrix import asking
from devices.errors import Refused
from devices.models import Channel, Instrument, Latest, Run
from devices.readings import Quality
from tests.telemetry import factories as telemetry
from tests.telemetry.factories import NOW, moment

pytestmark = pytest.mark.django_db

Value = float | str | None
Says = Mapping[str, tuple[str, Value]]
QPCR: Says = {
    "state": ("text", "Running"),
    "power": ("bool", 1.0),
    "drawer": ("text", "Closed"),
    "cover.position": ("text", "Lowered"),
    "cover.heating": ("bool", 1.0),
    "cover.target": ("float", 105.0),
    "run.stage_name": ("text", "PRERUN"),
    "run.stage": ("int", None),
    "run.cycle": ("int", 2.0),
    "run.step": ("text", "-"),
    "progress.title": ("text", "my run"),
    "progress.step": ("int", 1.0),
}


def machine(
    name: str, says: Mapping[str, tuple[str, float | str | None]], driver: str = "quantstudio"
) -> Instrument:
    made = telemetry.instrument(telemetry.edge(name.lower()), name, ())
    Instrument.objects.filter(pk=made.pk).update(driver=driver)
    for key, (kind, value) in says.items():
        channel = Channel.objects.create(instrument=made, key=key, label=key, kind=kind, digits=1)
        latest(channel, value)
    return Instrument.objects.get(pk=made.pk)


def latest(
    channel: Channel, value: float | str | None, quality: int = Quality.GOOD, at: float = -1.0
) -> None:
    Latest.objects.create(
        channel=channel,
        time=moment(at),
        seen_at=moment(at),
        stored_at=moment(at),
        value=value if isinstance(value, float) else None,
        text=value if isinstance(value, str) else None,
        quality=quality,
    )


def test_the_line_of_a_qpcr_machine_is_the_replaced_bots() -> None:
    machine("QPCR1", QPCR)
    assert asking.status(NOW).text.splitlines() == [
        "Instruments:",
        "- QPCR1: power on, cover heat on at 105.0°C, running my run (stage PRERUN, cycle 2, step 1).",
    ]


def test_an_idle_one() -> None:
    machine("qpcr", {**QPCR, "state": ("text", "Idle"), "cover.heating": ("bool", 0.0)})
    assert asking.status(NOW).text.endswith("- qpcr: power on, cover heat off, idle.")


def test_others_are_told_by_state_and_run() -> None:
    bath = machine("bath", {"a": ("float", 1.0), "b": ("float", 2.0)}, "thermostat")
    Run.objects.create(
        instrument=bath, key="1", kind="cal", title="nightly", state="running", progress=0.4, told_at=NOW
    )
    machine("away", {"a": ("float", 1.0)}, "thermostat")
    Latest.objects.filter(channel__instrument__name="away").update(quality=Quality.BAD)
    machine("silent", {"a": ("float", 1.0)}, "thermostat")
    Latest.objects.filter(channel__instrument__name="silent").update(seen_at=NOW - timedelta(minutes=2))
    machine("new", {}, "thermostat")
    machine("resting", {}, "thermostat")
    Instrument.objects.filter(name="resting").update(in_service=False)
    assert asking.status(NOW).text.splitlines()[1:] == [
        "- away: not connected.",
        "- bath: normal, run nightly running, 40 %.",
        "- new: no reading yet.",
        "- resting: out of service.",
        "- silent: silent, last heard 2 min 00 s ago.",
    ]


def test_one_in_full_whatever_the_capitals() -> None:
    machine("QPCR 1", QPCR)
    lines = asking.status_of("qpcr 1", NOW).text.splitlines()
    assert lines[:6] == [
        "QPCR 1:",
        "- normal",
        "- power on",
        "- drawer Closed",
        "- cover Lowered, cover heat on at 105.0°C",
        "- running my run (stage PRERUN, cycle 2, step 1)",
    ]
    assert "- drawer: Closed (1.0 s ago)" in lines
    assert asking.status_of('"QPCR 1"', NOW).text.splitlines() == lines
    with pytest.raises(Refused, match="Machine qpcr not found"):
        asking.status_of("qpcr", NOW)


def test_the_latest_readings_with_unit_and_age() -> None:
    bath = machine("bath", {}, "thermostat")
    channel = Channel.objects.create(instrument=bath, key="t", label="Temperature", unit="Cel", digits=2)
    latest(channel, 21.5)
    gone = Channel.objects.create(instrument=bath, key="f", label="Flow", unit="L/min", position=1)
    latest(gone, 3.0, Quality.BAD, at=-90)
    assert asking.latest("BATH", NOW).text.splitlines() == [
        "bath:",
        "- Temperature: 21.50 °C (1.0 s ago)",
        "- Flow: 3 L/min (1 min 30 s ago, bad)",
    ]


@pytest.mark.parametrize(
    ("text", "key", "hours"),
    [
        ("bath 2 temperature", "t", 24.0),
        ("Bath 2 TEMPERATURE 3", "t", 3.0),
        ('"bath 2" temperature 3h', "t", 3.0),
        ("bath 2 t 0.5", "t", 0.5),
        ("bath 2 sample 2 12", "s2", 12.0),
        ("bath 2 sample 2", "s2", 24.0),
        ("bath 2 sample", "s", 24.0),
    ],
)
def test_channels_to_be_drawn(text: str, key: str, hours: float) -> None:
    bath = telemetry.instrument(telemetry.edge(), "bath 2", ())
    for known, label in (("t", "Temperature"), ("s", "sample"), ("s2", "sample 2")):
        Channel.objects.create(instrument=bath, key=known, label=label)
    instrument, rest = asking.instrument_in(text)
    channel, found = asking.channel_in(instrument, rest)
    assert (instrument, channel.key, found) == (bath, key, hours)


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "99999", "soon"])
def test_hours_that_cannot_be(hours: str) -> None:
    bath = telemetry.instrument(telemetry.edge(), "bath")
    with pytest.raises(Refused):
        asking.channel_in(bath, f"a {hours}")


def test_a_channel_without_readings_is_not_drawn() -> None:
    telemetry.instrument(telemetry.edge(), "bath")
    found = asking.plot("bath a", NOW)
    assert (found.text, found.series) == ("bath a, last 24 h: no readings", None)
