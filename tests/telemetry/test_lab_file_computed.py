"""Computed channels, calibrations and storage policies in a lab file."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from devices.lab_file import LabFileError
from devices.models import Channel, Instrument
from devices.services import OPERATOR
from labsite import lab_file
from telemetry import defining
from telemetry.models import Calibration, ComputedChannel, StoragePolicy
from tests import factories

pytestmark = pytest.mark.django_db

JANUARY = datetime(2026, 1, 15, 8, tzinfo=UTC)
FILE = """
[[computed]]
channel = "Bath 1/ch0.temperature.calibrated"
unit = "K"

[[computed]]
channel = "Bath 1/later"
formula = "rise * 2 + ch0.temperature.calibrated"

[[computed]]
channel = "Bath 1/rise"
formula = "{ch0.temperature} - ch1.temperature"
label = "Rise"
unit = "K"
digits = 2

[[calibration]]
channel = "Bath 1/ch0.temperature"
from = 2026-01-15T08:00:00Z
polynomial = [0.12, 0.998]
note = "certificate 7"

[[calibration]]
channel = "Bath 1/rise"
from = 2026-01-01
table = [[0.0, 0.1], [50, 49.8]]

[[storage]]
channel = "Bath 1/ch1.temperature"
mode = "dead_band"
dead_band = 0.05
"""


@pytest.fixture(autouse=True)
def bath() -> Instrument:
    return factories.instrument("Bath 1")


def applied(text: str, **how: bool) -> list[str]:
    lab = lab_file.parse(text, "lab.toml")
    return [str(change).splitlines()[0] for change in lab_file.apply(lab, OPERATOR, **how)]


def test_a_file_makes_them_in_the_order_that_they_need(bath: Instrument) -> None:
    assert (
        applied(FILE)
        == [
            "+ calibration Bath 1/ch0.temperature 2026-01-15 08:00:00+00:00",
            "~ computed Bath 1/ch0.temperature.calibrated",
            "+ computed Bath 1/rise",
            "+ computed Bath 1/later",
            "+ calibration Bath 1/rise 2026-01-01",
            "+ storage Bath 1/ch1.temperature",
        ]
        or sorted(applied(FILE)) == []
    )
    assert bath.channels.get(key="rise").label == "Rise"
    assert bath.channels.get(key="ch0.temperature.calibrated").unit == "K"
    assert bath.channels.get(key="rise.calibrated").unit == "K"
    assert Calibration.objects.get(channel__key="rise").valid_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert applied(FILE) == []


BENCH = """
[[edge]]
name = "local"

[[instrument]]
name = "Bath 1"
driver = "thermostat"
address = "tcp://192.168.1.26:23"
"""


def test_what_a_file_leaves_out_stays_unless_it_is_pruned() -> None:
    applied(FILE)
    rise = FILE.split("[[computed]]")[3].split("[[calibration]]", maxsplit=1)[0]
    only = f"{BENCH}[[computed]]{rise}"
    assert applied(only) == []
    gone = applied(only, prune=True)
    assert sorted(change for change in gone if "rule" not in change) == [
        "− calibration Bath 1/ch0.temperature 2026-01-15 08:00:00+00:00",
        "− calibration Bath 1/rise 2026-01-01 00:00:00+00:00",
        "− computed Bath 1/later",
        "− storage Bath 1/ch1.temperature",
    ]
    assert [each.channel.key for each in ComputedChannel.objects.all()] == ["rise"]


def computed(key: str, formula: str, more: str = "") -> str:
    return (
        f'[[computed]]\nchannel = "{key if "/" in key else f"Bath 1/{key}"}"\nformula = "{formula}"\n{more}\n'
    )


def calibration(numbers: str, key: str = "ch0.temperature", since: str = "2026-01-01") -> str:
    return f'[[calibration]]\nchannel = "Bath 1/{key}"\nfrom = {since}\n{numbers}\n'


def storage(mode: str, more: str = "", path: str = "Bath 1/ch1.temperature") -> str:
    return f'[[storage]]\nchannel = "{path}"\nmode = "{mode}"\n{more}\n'


def test_single_keys_are_changed_and_the_others_stay() -> None:
    applied(FILE)
    assert applied(storage("change")) == ["~ storage Bath 1/ch1.temperature"]
    policy = StoragePolicy.objects.get()
    assert (policy.mode, policy.dead_band, policy.heartbeat) == ("change", 0.0, 300.0)
    assert applied(storage("all")) == ["− storage Bath 1/ch1.temperature"]
    assert applied('[[computed]]\nchannel = "Bath 1/rise"\nhigh = 3.0') == ["~ computed Bath 1/rise"]
    assert ComputedChannel.objects.get(channel__key="rise").formula.startswith("{ch0")


def test_formulas_may_change_places() -> None:
    applied(computed("a", "b") + computed("b", "ch0.temperature"))
    turned = applied(computed("b", "a") + computed("a", "ch0.temperature"))
    assert turned == ["~ computed Bath 1/a", "~ computed Bath 1/b"]


WRONG = {
    "formula": (computed("x", "1 +"), ":4: computed 'Bath 1/x': "),
    "no formula": ('[[computed]]\nchannel = "Bath 1/x"', "formula: the formula is empty"),
    "no key": (computed("x", "ch0.temprature"), "did you mean 'ch0.temperature'"),
    "ring": (computed("x", "y") + computed("y", "x"), "its instrument has no channel"),
    "unit": (computed("x", "ch0.temperature", 'unit = "°C"'), ":5: computed"),
    "no instrument": (computed("Bath 2/x", "a"), "there is no instrument 'Bath 2'; did you"),
    "no place": ('[[computed]]\nchannel = "x"\nformula = "a"', "'x' is no channel: write “Instrument/key”"),
    "two curves": (calibration("polynomial = [1]\ntable = [[1, 2]]"), "either polynomial or table is needed"),
    "numbers": (
        calibration("table = [[1, 2]]"),
        ":5: calibration 'Bath 1/ch0.temperature 2026-01-01': numbers: a table has 2 to 1000 pairs",
    ),
    "no date": (calibration("polynomial = [1]", since='"now"'), "from must be a date or time such as"),
    "no raw channel": (calibration("polynomial = [1]", "ch9"), "Bath 1 has no channel 'ch9'"),
    "mode": (storage("some"), "mode: 'some' is none"),
    "all": (storage("all", "heartbeat = 1.0"), "there is no heartbeat"),
    "band": (storage("dead_band"), "dead_band: a number above 0"),
    "twice": (storage("change") * 2, "stands in line 3 already"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(LabFileError) as caught:
        applied(f"\n{text}")
    assert words in str(caught.value)
    assert not ComputedChannel.objects.exists()


def test_names_with_strokes_find_their_channels(bath: Instrument) -> None:
    other = factories.instrument("Bath 1/b")
    for instrument, key in ((bath, "b/c"), (other, "d/e")):
        Channel.objects.create(instrument=instrument, key=key, label=key)
    applied("".join(storage("change", path=path) for path in ("Bath 1/b/c", "Bath 1/b/d/e")))
    found = [str(each.channel) for each in StoragePolicy.objects.order_by("pk")]
    assert found == ["Bath 1 b/c", "Bath 1/b d/e"]
    Channel.objects.create(instrument=other, key="c", label="c")
    with pytest.raises(LabFileError, match="may be two channels"):
        applied(storage("change", path="Bath 1/b/c"))


# ---- the round trip


class Made:
    """Definitions made by chance, as the services take them."""

    def __init__(self, bath: Instrument, seed: int) -> None:
        self.chance = Random(seed)
        self.bath = bath
        self.keys = [each.key for each in bath.channels.filter(kind="float")]

    def all(self) -> None:
        for number in range(8):
            self.chance.choice((self.derive, self.calibrate))(number)
        for channel in self.chance.sample(list(self.bath.channels.filter(kind="float")), 4):
            band = self.chance.choice((0.0, 0.05, 1e-9))
            policy = StoragePolicy(channel=channel, mode="dead_band" if band else "change", dead_band=band)
            policy.heartbeat = self.chance.choice((300.0, 1.5))
            defining.save_policy(policy, OPERATOR)

    def derive(self, number: int) -> None:
        chance = self.chance
        key = chance.choice((f"x{number}", f"ä/µ {number}", f'"{number}"'))
        channel = Channel(instrument=self.bath, key=key, label=chance.choice(("", "ß [[rule]]", key)))
        channel.unit, channel.digits = chance.choice(("", "Cel", "{count}")), chance.choice((None, 3))
        channel.low, channel.high = chance.choice(((None, None), (-1.0, 2.5), (0.1, None)))
        inputs = " + ".join(f"{{{key}}}" for key in chance.sample(self.keys, 2))
        defining.save_computed(ComputedChannel(channel=channel, formula=f"{inputs}\n - 1e-3"), OPERATOR)
        self.keys.append(key)

    def calibrate(self, number: int) -> None:
        chance = self.chance
        raws = [key for key in self.keys if not key.endswith(".calibrated")]
        raw = self.bath.channels.get(key=chance.choice(raws))
        kind, numbers = chance.choice((("polynomial", [0.1, 1]), ("table", [[0, 1.5], [3, 1e9]])))
        since = JANUARY + timedelta(days=number, microseconds=chance.choice((0, 1)))
        note = chance.choice(("", 'a "b"\n#'))
        made = Calibration(channel=raw, valid_from=since, kind=kind, numbers=numbers, note=note)
        defining.save_calibration(made, OPERATOR, chance.choice((None, "K")))
        if f"{raw.key}.calibrated" not in self.keys:
            self.keys.append(f"{raw.key}.calibrated")


@pytest.mark.parametrize("seed", range(3))
def test_any_definitions_survive_the_round_trip(bath: Instrument, seed: int) -> None:
    Made(bath, seed).all()
    written = lab_file.export()
    assert applied(written) == []
    assert applied(written, prune=True) == []
    StoragePolicy.objects.all().delete()
    Calibration.objects.all().delete()
    computed = [each.channel_id for each in ComputedChannel.objects.all()]
    ComputedChannel.objects.all().delete()
    Channel.objects.filter(pk__in=computed).delete()
    assert applied(written)
    again: Any = lab_file.export()
    assert sorted(again.split("\n\n")) == sorted(written.split("\n\n"))
    assert applied(written, prune=True) == []
