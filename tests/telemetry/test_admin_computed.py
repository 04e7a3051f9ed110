"""The admin of computed channels, calibrations and storage policies."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from devices.models import Channel, Instrument, Latest
from devices.services import OPERATOR
from telemetry import defining
from telemetry.admin.computed import TRY
from telemetry.models import Calibration, ComputedChannel, Sample, StoragePolicy
from telemetry.store import store
from telemetry.thinning.policies import Point
from telemetry.thinning.sifting import rows
from telemetry.times import microseconds
from tests import factories
from tests.devices.test_admin import errors, filled, opened
from tests.factories import person

pytestmark = pytest.mark.django_db

COMPUTED = "/admin/telemetry/computedchannel/"


@pytest.fixture
def browser(client: Client) -> Client:
    client.force_login(person())
    return client


@pytest.fixture
def bath() -> Instrument:
    return factories.instrument("Bath 1")


@pytest.fixture
def raw(bath: Instrument) -> Channel:
    return bath.channels.get(key="ch0.temperature")


def derived(bath: Instrument, key: str, formula: str) -> ComputedChannel:
    channel = Channel(instrument=bath, key=key)
    return defining.save_computed(ComputedChannel(channel=channel, formula=formula), OPERATOR)


def test_a_derived_channel_is_added_and_changed(browser: Client, bath: Instrument) -> None:
    page = opened(browser, f"{COMPUTED}add/")
    given = filled(page, instrument=str(bath.pk), key="rise", formula="ch0.temperature - 20", unit="K")
    assert browser.post(f"{COMPUTED}add/", given).status_code == 302
    made = ComputedChannel.objects.get()
    assert (made.channel.key, made.channel.unit, made.formula) == ("rise", "K", "ch0.temperature - 20")
    one = f"{COMPUTED}{made.pk}/change/"
    changed = filled(opened(browser, one), label="Rise", formula="ch0.temperature - 21", digits="1")
    assert browser.post(one, changed).status_code == 302
    made.refresh_from_db()
    assert (made.formula, made.channel.label, made.channel.digits) == ("ch0.temperature - 21", "Rise", 1)
    assert b"rise" in browser.get(COMPUTED).content


def test_what_is_wrong_stands_beside_its_field(browser: Client, bath: Instrument) -> None:
    page = opened(browser, f"{COMPUTED}add/")
    given = filled(page, instrument=str(bath.pk), key="rise", formula="ch0.temperature - ", unit="°C")
    assert set(errors(browser.post(f"{COMPUTED}add/", given))) == {"formula", "unit"}


def test_a_formula_is_tried_and_nothing_is_saved(browser: Client, bath: Instrument, raw: Channel) -> None:
    now = timezone.now()
    Latest.objects.create(channel=raw, time=now, value=20.25, seen_at=now, stored_at=now)
    page = opened(browser, f"{COMPUTED}add/")
    given = filled(
        page, instrument=str(bath.pk), key="x", formula="ch0.temperature * 2", unit="Cel", **{TRY: "1"}
    )
    answer = browser.post(f"{COMPUTED}add/", given)
    assert answer.context["previewed"]["value"] == "40.5 °C"
    assert "20.25" in answer.content.decode()
    assert not ComputedChannel.objects.exists()
    wrong = browser.post(f"{COMPUTED}add/", {**given, "formula": "foo("})
    assert (wrong.context["previewed"], set(errors(wrong))) == (None, {"formula"})


def test_what_something_is_computed_from_is_not_deleted(browser: Client, bath: Instrument) -> None:
    first = derived(bath, "a", "ch0.temperature")
    second = derived(bath, "b", "a")
    answer = browser.post(f"{COMPUTED}{first.pk}/delete/", {"post": "yes"}, follow=True)
    assert "is computed from" in answer.content.decode()
    for each in (second, first):
        browser.post(f"{COMPUTED}{each.pk}/delete/", {"post": "yes"})
    assert not ComputedChannel.objects.exists()


def test_what_is_stored_is_computed_again(browser: Client, bath: Instrument, raw: Channel) -> None:
    made = derived(bath, "double", "ch0.temperature * 2")
    before = microseconds(timezone.now() - timedelta(seconds=90))
    store(rows([Point(before + n, 21.0, 0, None) for n in range(5)], [raw.pk] * 5, [0] * 5))
    body = {"action": "compute_again", "_selected_action": [str(made.pk)]}
    assert "0 values changed, 5 added" in browser.post(COMPUTED, body, follow=True).content.decode()
    assert Sample.objects.filter(channel_id=made.pk, value=42.0).count() == 5


def test_calibrations_and_the_storage_policy_are_beside_their_channel(browser: Client, raw: Channel) -> None:
    url = f"/admin/devices/channel/{raw.pk}/change/"
    page = opened(browser, url)
    given = filled(
        page,
        **{
            "storage_policy-TOTAL_FORMS": "1",
            "storage_policy-0-channel": str(raw.pk),
            "storage_policy-0-mode": "dead_band",
            "storage_policy-0-dead_band": "0.5",
            "storage_policy-0-heartbeat": "60",
            "calibrations-TOTAL_FORMS": "1",
            "calibrations-0-channel": str(raw.pk),
            "calibrations-0-valid_from_0": "2026-01-15",
            "calibrations-0-valid_from_1": "08:00:00",
            "calibrations-0-kind": "polynomial",
            "calibrations-0-numbers": "[0.5, 1.01]",
        },
    )
    wrong = browser.post(url, {**given, "calibrations-0-numbers": "[]", "storage_policy-0-dead_band": "0"})
    assert wrong.status_code == 200
    told = [
        dict(form.errors) for each in wrong.context["inline_admin_formsets"] for form in each.formset.forms
    ]
    assert [set(each) for each in told] == [{"dead_band"}, {"numbers"}]
    assert browser.post(url, given).status_code == 302
    policy, calibration = StoragePolicy.objects.get(), Calibration.objects.get()
    assert (policy.channel, policy.dead_band, policy.heartbeat) == (raw, 0.5, 60.0)
    assert (calibration.numbers, calibration.by and calibration.by.username) == ([0.5, 1.01], "staff")
    assert Channel.objects.filter(key="ch0.temperature.calibrated").exists()
    again = filled(opened(browser, url), **{"storage_policy-0-DELETE": "on", "calibrations-0-DELETE": "on"})
    assert browser.post(url, again).status_code == 302
    for model in (StoragePolicy, Calibration, ComputedChannel):
        assert not model._default_manager.exists()


def test_only_staff_sees_them(client: Client, bath: Instrument) -> None:
    client.force_login(person("reader", staff=False))
    assert client.get(COMPUTED).status_code == 302
