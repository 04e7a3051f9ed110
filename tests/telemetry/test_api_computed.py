"""The API of computed channels, calibrations and storage policies, and who may."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from devices.models import Channel, Instrument, Latest
from devices.services import OPERATOR
from telemetry import defining
from telemetry.models import Calibration, ComputedChannel, Sample, StoragePolicy
from telemetry.store import store
from telemetry.thinning.policies import Point
from telemetry.thinning.sifting import rows
from telemetry.times import microseconds
from tests import factories
from tests.factories import client, person, token_client

pytestmark = pytest.mark.django_db

COMPUTED, CALIBRATIONS, POLICIES = (
    f"/api/v1/{name}/" for name in ("computed-channels", "calibrations", "storage-policies")
)
QUERY_BUDGET = 4  # session, user, the list


@pytest.fixture
def api() -> APIClient:
    return client(person())


@pytest.fixture
def bath() -> Instrument:
    return factories.instrument("Bath 1")


@pytest.fixture
def raw(bath: Instrument) -> Channel:
    return bath.channels.get(key="ch0.temperature")


def shown(raw: Channel, value: float | None, quality: int = 0) -> None:
    now = timezone.now()
    Latest.objects.create(channel=raw, time=now, value=value, quality=quality, seen_at=now, stored_at=now)


# ---- computed channels


def test_a_derived_channel_is_made_read_edited_and_deleted(api: APIClient, bath: Instrument) -> None:
    given = {
        "instrument": str(bath.pk),
        "key": "rise",
        "formula": "{ch0.temperature} - ch1.temperature",
        "unit": "K",
    }
    answer = api.post(COMPUTED, given)
    assert answer.status_code == 201
    made = answer.json()
    one = f"{COMPUTED}{made['channel']}/"
    assert made == {
        **given, "channel": made["channel"], "instrument_name": "Bath 1", "label": "rise", "digits": None,
        "low": None, "high": None, "source": None,
    }  # fmt: skip
    assert api.get(one).json() == made
    edited = api.patch(one, {"formula": "ch0.temperature * 2", "label": "Rise", "low": -1, "high": 1}).json()
    assert (edited["formula"], edited["label"], edited["unit"]) == ("ch0.temperature * 2", "Rise", "K")
    assert api.patch(one, {"key": "fall"}).json() == {"key": ["It stays as it is: make another channel."]}
    assert api.get("/api/v1/channels/?key=rise").json()["results"][0]["label"] == "Rise"
    assert api.delete(one).status_code == 204
    assert not Channel.objects.filter(key="rise").exists()


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "no formula": ({"formula": ""}, "formula", "the formula is empty"),
    "no such channel": ({"formula": "ch0.temprature"}, "formula", "did you mean 'ch0.temperature'?"),
    "no such function": ({"formula": "sqr(ch0.temperature)"}, "formula", "did you mean sqrt?"),
    "of itself": ({"formula": "rise + ch0.temperature"}, "formula", "computed from itself: rise ← rise"),
    "of the driver": (
        {"key": "ch0.temperature", "formula": "ch1.temperature"},
        "key",
        "the driver thermostat itself reports",
    ),
    "unprintable": ({"key": "a\tb"}, "key", "printable"),
    "no UCUM": ({"unit": "°C"}, "unit", "°C is Cel"),
    "upside down": ({"low": 2, "high": 1}, "high", "above"),
    "digits": ({"digits": 99}, "digits", "0 to 15"),
    "no instrument": ({"instrument": "0b5f6f0e-8a0f-4a52-9a3f-8f2c1c5f9a11"}, "instrument", "Invalid pk"),
}


@pytest.mark.parametrize(("given", "field", "words"), WRONG.values(), ids=WRONG)
def test_what_could_not_be_computed_is_told_by_field(
    api: APIClient, bath: Instrument, given: dict[str, Any], field: str, words: str
) -> None:
    answer = api.post(
        COMPUTED, {"instrument": str(bath.pk), "key": "rise", "formula": "ch0.temperature", **given}
    )
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert words in str(answer.json()[field])


def derived(bath: Instrument, key: str, formula: str) -> ComputedChannel:
    channel = Channel(instrument=bath, key=key)
    return defining.save_computed(ComputedChannel(channel=channel, formula=formula), OPERATOR)


def test_a_ring_is_named(api: APIClient, bath: Instrument) -> None:
    first = derived(bath, "a", "ch0.temperature")
    derived(bath, "b", "a + 1")
    derived(bath, "c", "b + 1")
    answer = api.patch(f"{COMPUTED}{first.pk}/", {"formula": "c"})
    assert "it would be computed from itself: " in answer.json()["formula"][0]
    assert set(answer.json()["formula"][0].split(": ")[1].split(" ← ")) == {"a", "b", "c"}


def test_what_another_is_computed_from_stays(api: APIClient, bath: Instrument) -> None:
    first = derived(bath, "a", "ch0.temperature")
    derived(bath, "b", "a + 1")
    answer = api.delete(f"{COMPUTED}{first.pk}/")
    assert (answer.status_code, answer.json()) == (
        409,
        {"detail": "'b' is computed from 'a': change that first"},
    )


def test_a_key_that_the_instrument_reports_is_not_taken(api: APIClient, bath: Instrument) -> None:
    own = Channel.objects.create(instrument=bath, key="own", label="own")
    shown(own, 1.0)
    given = {"instrument": str(bath.pk), "key": "own", "formula": "ch0.temperature"}
    assert api.post(COMPUTED, given).json() == {"key": ["Bath 1 itself reports 'own'"]}
    own.latest.delete()
    assert api.post(COMPUTED, given).json()["channel"] == own.pk
    assert api.post(COMPUTED, given).json() == {"key": ["Bath 1 has a computed channel 'own' already"]}


def test_a_formula_is_tried_on_the_latest_readings(api: APIClient, bath: Instrument, raw: Channel) -> None:
    shown(raw, 20.0, 1)
    given = {"instrument": str(bath.pk), "formula": "ch0.temperature ** 2"}
    tried = api.post(f"{COMPUTED}preview/", given).json()
    assert (tried["value"], tried["quality"]) == (400.0, "uncertain")
    assert [(each["key"], each["value"]) for each in tried["inputs"]] == [("ch0.temperature", 20.0)]
    missing = api.post(
        f"{COMPUTED}preview/", {**given, "formula": "ch0.temperature + ch1.temperature"}
    ).json()
    assert (missing["value"], missing["quality"], len(missing["inputs"])) == (None, "bad", 1)
    assert api.post(f"{COMPUTED}preview/", {**given, "formula": "1 +"}).status_code == 400
    assert not ComputedChannel.objects.exists()


def test_what_is_stored_is_computed_again(api: APIClient, bath: Instrument, raw: Channel) -> None:
    made = derived(bath, "double", "ch0.temperature * 2")
    before = microseconds(timezone.now() - timedelta(seconds=90))
    store(rows([Point(before + n, 21.0, 0, None) for n in range(5)], [raw.pk] * 5, [0] * 5))
    url = f"{COMPUTED}{made.pk}/recompute/"
    nothing = {"changed": 0, "same": 0, "left": 0, "next": None}
    assert api.post(url, {"dry_run": True}).json() == {**nothing, "added": 5}
    assert api.post(url, {"from": "-1h", "to": "now"}).json() == {**nothing, "added": 5}
    assert api.post(url).json() == {**nothing, "added": 0, "same": 5}
    assert api.post(url, {"from": "soon"}).status_code == 400
    assert set(Sample.objects.filter(channel_id=made.pk).values_list("value", flat=True)) == {42.0}


# ---- calibrations


def test_the_first_calibration_makes_the_calibrated_channel_and_the_last_one_ends_it(
    api: APIClient, raw: Channel
) -> None:
    given = {
        "channel": raw.pk,
        "valid_from": "2026-01-01T00:00:00Z",
        "kind": "polynomial",
        "numbers": [0.5, 1.01],
    }
    answer = api.post(CALIBRATIONS, given)
    assert answer.status_code == 201
    made = answer.json()
    true = Channel.objects.get(pk=made["calibrated"])
    assert (true.key, true.unit, true.instrument) == ("ch0.temperature.calibrated", raw.unit, raw.instrument)
    assert (made["by"], made["key"], made["note"]) == ("staff", "ch0.temperature", "")
    table = {**given, "valid_from": "2026-02-01T00:00:00Z", "kind": "table", "numbers": [[0, 1], [10, 12]]}
    second = api.post(CALIBRATIONS, {**table, "unit": "K"}).json()
    true.refresh_from_db()
    assert true.unit == "K"
    assert api.post(CALIBRATIONS, table).json() == {
        "valid_from": ["the channel has a calibration from this time on already"]
    }
    one = f"{CALIBRATIONS}{second['id']}/"
    assert api.patch(one, {"numbers": [[0, 1]]}).json() == {
        "numbers": ["a table has 2 to 1000 pairs [raw, true]"]
    }
    assert api.patch(one, {"note": "at the works"}).json()["note"] == "at the works"
    uses = api.post(
        COMPUTED, {"instrument": str(raw.instrument_id), "key": "x", "formula": "ch0.temperature.calibrated"}
    )
    assert uses.status_code == 201
    assert api.delete(one).status_code == 204
    first = f"{CALIBRATIONS}{made['id']}/"
    assert api.delete(first).status_code == 409
    assert api.delete(f"{COMPUTED}{uses.json()['channel']}/").status_code == 204
    assert api.delete(f"{COMPUTED}{true.pk}/").status_code == 409
    assert api.delete(first).status_code == 204
    assert not ComputedChannel.objects.exists()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"kind": "cubic"}, "kind"),
        ({"numbers": []}, "numbers"),
        ({"numbers": [1, "2"]}, "numbers"),
        ({"numbers": {"a": 1}}, "numbers"),
        ({"kind": "table", "numbers": [[1, 2], [1, 3]]}, "numbers"),
        ({"kind": "table", "numbers": [1, 2]}, "numbers"),
        ({"valid_from": "yesterday"}, "valid_from"),
        ({"unit": "grad C"}, "unit"),
        ({"channel": 0}, "channel"),
    ],
    ids=str,
)
def test_a_calibration_that_cannot_be_is_told_by_field(
    api: APIClient, raw: Channel, given: dict[str, Any], field: str
) -> None:
    right = {"channel": raw.pk, "valid_from": "2026-01-01T00:00:00Z", "kind": "polynomial", "numbers": [0, 1]}
    answer = api.post(CALIBRATIONS, {**right, **given})
    assert (answer.status_code, list(answer.json())) == (400, [field])


def test_what_is_calibrated_and_what_is_no_number_is_not_calibrated(api: APIClient, raw: Channel) -> None:
    given = {"channel": raw.pk, "valid_from": "2026-01-01T00:00:00Z", "kind": "polynomial", "numbers": [0, 1]}
    true = api.post(CALIBRATIONS, given).json()["calibrated"]
    assert "calibrate the raw channel" in str(
        api.post(CALIBRATIONS, {**given, "channel": true}).json()["channel"]
    )
    text = Channel.objects.create(instrument=raw.instrument, key="state", label="state", kind="text")
    assert "no numbers" in str(api.post(CALIBRATIONS, {**given, "channel": text.pk}).json()["channel"])
    patched = api.patch(f"{COMPUTED}{true}/", {"formula": "ch0.temperature"})
    assert patched.json() == {"formula": ["A calibrated channel has none."]}
    assert api.patch(f"{COMPUTED}{true}/", {"unit": "K", "digits": 4}).json()["unit"] == "K"


# ---- storage policies


def test_a_storage_policy_is_made_read_edited_and_deleted(api: APIClient, raw: Channel) -> None:
    given = {"channel": raw.pk, "mode": "dead_band", "dead_band": 0.5}
    assert api.post(POLICIES, given).json() == {
        **given, "instrument_name": "Bath 1", "key": "ch0.temperature", "heartbeat": 300.0
    }  # fmt: skip
    one = f"{POLICIES}{raw.pk}/"
    assert api.post(POLICIES, given).status_code == 400
    assert api.patch(one, {"heartbeat": 60}).json()["heartbeat"] == 60
    assert api.patch(one, {"dead_band": 0}).json() == {"dead_band": ["a number above 0 is needed"]}
    assert api.patch(one, {"mode": "change"}).json() == {
        "dead_band": ["on change there is none: leave it at 0"]
    }
    assert api.patch(one, {"mode": "change", "dead_band": 0}).json()["mode"] == "change"
    assert api.patch(one, {"heartbeat": 1e9}).status_code == 400
    assert api.delete(one).status_code == 204
    assert not StoragePolicy.objects.exists()


def test_words_and_vectors_have_no_dead_band(api: APIClient, bath: Instrument) -> None:
    for kind in ("text", "vector"):
        channel = Channel.objects.create(instrument=bath, key=kind, label=kind, kind=kind)
        given = {"channel": channel.pk, "mode": "dead_band", "dead_band": 0.5}
        assert "store it on change" in str(api.post(POLICIES, given).json()["mode"])
        assert api.post(POLICIES, {"channel": channel.pk, "mode": "change"}).status_code == 201


# ---- who may, and how much it asks


def test_everyone_reads_and_only_staff_changes(bath: Instrument, raw: Channel) -> None:
    given = {"instrument": str(bath.pk), "key": "rise", "formula": "ch0.temperature"}
    for api in (client(person("reader", staff=False)), token_client(person("robot"), "read")):
        for url in (COMPUTED, CALIBRATIONS, POLICIES):
            assert api.get(url).status_code == 200
            assert api.post(url, given).status_code == 403
        assert api.post(f"{COMPUTED}preview/", given).status_code == 403


def test_lists_ask_few_questions_and_are_filtered(
    api: APIClient, bath: Instrument, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number, raw in enumerate(list(bath.channels.filter(kind="float")[:6])):
        derived(bath, f"x{number}", raw.key)
        calibration = Calibration(channel=raw, valid_from=timezone.now(), kind="polynomial", numbers=[0, 1])
        defining.save_calibration(calibration, OPERATOR)
        StoragePolicy.objects.create(channel=raw, mode="change")
    for url, count in ((COMPUTED, 12), (CALIBRATIONS, 6), (POLICIES, 6)):
        with django_assert_max_num_queries(QUERY_BUDGET):
            assert len(api.get(f"{url}?instrument_name=Bath 1").json()["results"]) == count
        assert api.get(f"{url}?key=nothing").json()["results"] == []
