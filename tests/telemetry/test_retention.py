"""A channel's retention class, and what becomes of its readings when it changes."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from devices.models import Channel
from devices.readings import Flag
from labsite import pipeline
from telemetry.families import FAMILIES
from telemetry.models import Sample, SampleLong
from tests import factories
from tests.telemetry.factories import NOW, edge, instrument, moment, new_spool, parcel
from tests.telemetry.rolled import Told, batch_of

pytestmark = pytest.mark.django_db

BESIDE = ("storage_policy", "calibrations")  # on the admin's page of a channel


@pytest.fixture
def staff() -> User:
    return factories.person(superuser=True)


@pytest.fixture
def channel() -> Channel:
    return instrument(edge()).channels.get(key="a")


def deliver(channel: Channel, *told: Told) -> int:
    sent = parcel(batch_of(channel.instrument, told), spool=new_spool())
    return pipeline.ingest(channel.instrument.edge, sent, NOW).readings


def test_the_classes_are_the_families_of_tables() -> None:
    assert tuple(Channel.Retention.values) == FAMILIES


def test_readings_from_a_change_on_are_of_the_new_class_and_old_ones_are_still_given(
    staff: User, channel: Channel
) -> None:
    api = factories.client(staff)
    deliver(channel, Told("a", -20, 1.0))
    changed = api.patch(f"/api/v1/channels/{channel.pk}/", {"retention": "long"})
    assert (changed.status_code, changed.json()["retention"]) == (200, "long")
    deliver(channel, Told("a", -10, 2.0))
    assert [Sample.objects.count(), SampleLong.objects.count()] == [1, 1]
    asked = {"channel": str(channel.pk), "from": moment(-60).isoformat(), "to": NOW.isoformat()}
    told = api.get("/api/v1/samples/", asked).json()["results"]
    assert [each["value"] for each in told] == [1.0, 2.0]


def test_what_an_instrument_tells_again_after_a_change_is_not_doubled(staff: User, channel: Channel) -> None:
    told = [Told("a", -20 + n, float(n), Flag.INSTRUMENT_TIME) for n in range(5)]
    deliver(channel, *told)
    factories.client(staff).patch(f"/api/v1/channels/{channel.pk}/", {"retention": "long"})
    deliver(channel, *told, Told("a", -1, 9.0, Flag.INSTRUMENT_TIME))
    assert [Sample.objects.count(), SampleLong.objects.count()] == [5, 1]
    assert SampleLong.objects.get().time == moment(-1)


def test_nothing_else_of_a_channel_can_be_changed_and_only_staff_may(staff: User, channel: Channel) -> None:
    url = f"/api/v1/channels/{channel.pk}/"
    viewer = factories.client(factories.person("viewer", staff=False))
    assert viewer.patch(url, {"retention": "long"}).status_code == 403
    api = factories.client(staff)
    assert api.patch(url, {"retention": "for ever"}).json().keys() == {"retention"}
    assert api.patch(url, {"key": "x", "unit": "K"}).status_code == 200
    assert api.put(url, {"retention": "long"}).status_code == 405
    channel.refresh_from_db()
    assert (channel.key, channel.unit, channel.retention) == ("a", "", "standard")


def test_the_admin_changes_the_class_of_one_or_of_many(client: Client, staff: User, channel: Channel) -> None:
    client.force_login(staff)
    url = f"/admin/devices/channel/{channel.pk}/change/"
    none = {f"{name}-{count}_FORMS": "0" for name in BESIDE for count in ("TOTAL", "INITIAL")}
    assert client.post(url, {"retention": "long", "key": "x", **none}).status_code == 302
    channel.refresh_from_db()
    assert (channel.key, channel.retention) == ("a", "long")
    chosen = [str(each.pk) for each in channel.instrument.channels.all()]
    for action, retention in (("keep_long", "long"), ("keep_standard", "standard")):
        client.post("/admin/devices/channel/", {"action": action, "_selected_action": chosen})
        assert set(channel.instrument.channels.values_list("retention", flat=True)) == {retention}
