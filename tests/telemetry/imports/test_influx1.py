"""InfluxDB 1, the real one of Debian, in the schemas that the replaced monitors wrote."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from django.core.management import CommandError, call_command
from django.utils import timezone

from devices.models import Channel, Instrument
from telemetry.imports import influx1
from telemetry.imports.base import Unreadable
from telemetry.imports.influx1 import Asked, InfluxQl
from telemetry.imports.schemas import SCHEMAS, by_rules, rule_of
from telemetry.models import AnySample
from tests.telemetry.factories import edge, instrument
from tests.telemetry.sinks.servers import Influx, needs_influxd

pytestmark = [pytest.mark.django_db, needs_influxd]

POINTS = 300  # of one series; more than one piece of the answer


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """With a night of a qPCR machine and its neighbour, and of a filament box."""
    folder = tmp_path_factory.mktemp("influx1")
    start = int((timezone.now() - timedelta(hours=12)).timestamp())
    lines = []
    for n in range(POINTS):
        time = f"{start + n}000123000"
        lines += [
            f"temperature,loc=zones,machine=qpcr1,zone=0 block=36.4,sample={n} {time}",
            f"temperature,loc=zones,machine=qpcr1,zone=5 block=36.5,sample=36.5 {time}",
            f"temperature,loc=heatsink,machine=qpcr1 heatsink=35.7 {time}",
            f"temperature,loc=zones,machine=other,zone=0 block=1,sample=1 {time}",
            f"environment,location=box temperature_c=21.5,temperature_f=70.7,humidity=40 {time}",
        ]
    time = f"{start}000000000"
    lines += [
        f"lamp,machine=qpcr1 current=9.50963,junctemp=69.8972,temperature=54.1342,voltage=3.12903 {time}",
        f"run_time,machine=qpcr1 active=2,elapsed=192,remaining=298 {time}",
        f"run_status,machine=qpcr1,type=cycle cycle=2i {time}",
        f'run_action,machine=qpcr1,type=cycle cycle=2i,run_name="x" {time}',
        f"thermostat,instrument=bath,channel=ch0.temperature,unit=Cel quality=0i,value=20.5 {time}",
        f'thermostat,instrument=bath,channel=state,unit= quality=1i,text="warm, \\"it\'s\\"" {time}'.replace(
            ",unit= ", " "
        ),
        f'"odd" name,a\\ b=c\\ d v=1 {time}'.replace('"odd" name', "odd\\ name"),
    ]
    with Influx(folder, http="auth-enabled = false").start() as server:
        requests.post(f"{server.url}/query", {"q": "CREATE DATABASE lab"}, timeout=10).raise_for_status()
        answer = requests.post(
            f"{server.url}/write", "\n".join(lines).encode(), params={"db": "lab"}, timeout=10
        )
        assert answer.status_code == 204, answer.text
        yield server


@pytest.fixture
def qpcr() -> Instrument:
    made = instrument(edge(), "qPCR", keys=[])
    Instrument.objects.filter(pk=made.pk).update(driver="quantstudio")
    return made


def ran(capsys: pytest.CaptureFixture[str], influx: Influx, *words: str) -> list[str]:
    call_command("import_history", "influx1", influx.url, "--database", "lab", *words)
    return capsys.readouterr().out.splitlines()


def test_the_qpcr_monitors_points(
    influx: Influx, qpcr: Instrument, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine's, in pieces; a second time all of it is known."""
    monkeypatch.setattr(influx1, "CHUNK", 100)
    words = ["--instrument", "qPCR", "--schema", "qs-monitor", "--tag", "machine=qpcr1"]
    assert ran(capsys, influx, *words, "--dry-run")[0].startswith(f"would be taken: {5 * POINTS + 8}")
    first = ran(capsys, influx, *words)
    assert first[0].startswith(f"taken: {5 * POINTS + 8}")
    assert first[1:3] == ["known: 0", "refused: 0"]
    keys = dict(Channel.objects.filter(instrument=qpcr).values_list("key", "pk"))
    assert set(keys) == {
        "sample.1", "block.1", "sample.6", "block.6", "heatsink", "led.current", "led.junction",
        "led.temperature", "led.voltage", "run.active", "run.elapsed", "run.remaining", "run.cycle",
    }  # fmt: skip
    values = AnySample.objects.filter(channel_id=keys["sample.1"]).order_by("time")
    assert [sample.value for sample in values] == list(map(float, range(POINTS)))
    assert values[0].time.microsecond == 123
    assert Channel.objects.get(key="heatsink").unit == "Cel"
    assert ran(capsys, influx, *words)[:2] == ["taken: 0", f"known: {5 * POINTS + 8}"]


def test_the_filament_boxs_points(
    influx: Influx, qpcr: Instrument, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ran(capsys, influx, "--instrument", "qPCR", "--schema", "filament-box", "--from=-1d")
    assert told[0].startswith(f"taken: {2 * POINTS}")
    assert told[-1] == "fields left out: environment.temperature_f"


def test_our_own_points_bring_their_quality(influx: Influx, qpcr: Instrument) -> None:
    source = InfluxQl(Asked(influx.url, "lab", SCHEMAS["labsite"], ["thermostat"], {"instrument": "bath"}))
    told = sorted((point.key, point.value, point.quality) for point in source.points())  # type: ignore[union-attr]
    assert told == [("ch0.temperature", 20.5, 0), ("state", 'warm, "it\'s"', 1)]


def test_names_and_tags_of_any_kind(influx: Influx, qpcr: Instrument) -> None:
    """Quoted as they must be; and what no rule names is left out."""
    rules = by_rules([rule_of("odd name.v{a b=c d}=odd")])
    source = InfluxQl(Asked(influx.url, "lab", rules, ["odd name"], {"a b": "c d"}))
    assert [point.key for point in source.points()] == ["odd"]  # type: ignore[union-attr]
    other = InfluxQl(Asked(influx.url, "lab", rules, ["odd name", "lamp"], {"a b": "it's"}))
    assert not list(other.points())
    everything = InfluxQl(Asked(influx.url, "lab", rules))
    assert len(list(everything.points())) == 1
    (note,) = everything.notes
    assert "lamp.current" in note
    assert "environment.current" not in note, "each row has the columns of all"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--database", "nowhere"], "database not found: nowhere"),
        (["--database", "lab", "--tag", "machine"], "--tag: 'machine'"),
    ],
)
def test_what_the_server_says(influx: Influx, qpcr: Instrument, words: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command(
            "import_history", "influx1", influx.url, "--instrument", "qPCR", "--schema", "qs-monitor", *words
        )


def test_a_server_that_is_not_there_or_wants_a_password(qpcr: Instrument, tmp_path: Path) -> None:
    with Influx(tmp_path, http="auth-enabled = true").start() as server:
        source = InfluxQl(Asked(server.url, "lab", SCHEMAS["qs-monitor"]), "guest", "wrong-word")
        with pytest.raises(Unreadable, match="403 error authorizing query: create admin user first") as told:
            list(source.points())
        assert "wrong-word" not in str(told.value)
    with pytest.raises(Unreadable, match="ConnectionError"):
        list(source.points())
