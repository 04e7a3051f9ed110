"""The live stream, from a real web process: what is stored is seen, and nothing is left behind."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.test import RequestFactory
from django.utils import timezone

from alerts import services
from alerts.models import Source
from devices.models import Channel, Instrument, Run
from devices.services import OPERATOR
from labsite.pages import live, views
from labsite.pages.cards import ROWS_ON_A_CARD
from labsite.pages.standing import Now, Standing
from labsite.pages.tally import Tally
from tests import factories
from tests.alerts.factories import alarm
from tests.waiting import until
from tests.web import Web, cookies, notify, store, stream

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def web(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("web")) as running:
        yield running.start()


@pytest.fixture
def channel() -> Channel:
    return first_channel(factories.instrument("Bath 1"))


def first_channel(instrument: Instrument) -> Channel:
    channel = instrument.channels.first()
    assert channel is not None
    return channel


def listeners() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s",
            [live.APPLICATION],
        )
        return int(cursor.fetchone()[0])


def others() -> int:
    """Connections to the database beside the listener's and the test's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND application_name <> %s",
            [live.APPLICATION],
        )
        return int(cursor.fetchone()[0])


def test_a_page_gets_the_present_first_and_then_what_is_stored(web: Web, channel: Channel) -> None:
    store(channel, 25.0)
    with stream(web, factories.person()) as page:
        kind, content = next(iter(page))
        assert kind == "snapshot"
        assert [each[2] for each in content["latest"]] == [25.0]
        read, bad, outside, seen, reason = content["standings"][str(channel.instrument_id)]
        assert (read, bad, outside, reason) == (1, 0, 0, "")
        assert abs(seen - content["now"]) < 5000
        store(channel, 26.5)
        notify()
        page.value(channel, 26.5)


def test_a_value_arrives_also_when_its_notification_was_lost(web: Web, channel: Channel) -> None:
    with stream(web, factories.person()) as page:
        page.first(lambda kind, _content: kind == "snapshot")
        store(channel, 1.5)
        page.value(channel, 1.5)


def test_a_transaction_that_commits_late_is_not_missed(web: Web, channel: Channel) -> None:
    late = first_channel(factories.instrument("Bath 2"))
    with stream(web, factories.person()) as page:
        began = timezone.now()
        store(channel, 1.0)
        notify()
        page.value(channel, 1.0)
        store(late, 2.0, stored_at=began)
        notify()
        page.value(late, 2.0)


def test_every_page_gets_what_it_shows(web: Web, channel: Channel) -> None:
    user = factories.person()
    other = first_channel(factories.instrument("Bath 2"))
    query = f"?instrument={other.instrument_id}"
    with stream(web, user) as overview, stream(web, user) as again, stream(web, user, query) as one:
        store(channel, 1.0)
        store(other, 2.0)
        notify()
        for page in (overview, again):
            page.value(channel, 1.0)
        content = one.first(lambda _kind, content: content.get("latest"))
        assert {each[0] for each in content["latest"]} == {other.pk}
        assert set(content["standings"]) == {str(other.instrument_id)}
        assert listeners() == 1
        until(lambda: others() == 0, 5, "no open page holds a connection of its own")


def test_the_overview_gets_only_the_channels_on_its_cards(web: Web) -> None:
    channels = list(factories.instrument("Bath 1").channels.all())
    for each in channels:
        store(each, 1.0)
    shown = {each.pk for each in channels[:ROWS_ON_A_CARD]}
    with stream(web, factories.person()) as page:
        content = page.first(lambda kind, _content: kind == "snapshot")
        assert {each[0] for each in content["latest"]} == shown
        assert content["standings"][str(channels[0].instrument_id)][0] == len(channels)


def test_a_request_leaves_no_connection_behind(web: Web) -> None:
    signed_in = cookies(factories.person())
    for _ in range(5):
        assert httpx.get(f"{web.url}/", cookies=signed_in).status_code == 200
    until(lambda: others() == 0, 5, "each connection is closed")


def test_a_page_that_goes_away_frees_everything(web: Web, channel: Channel) -> None:
    store(channel, 1.0)
    with stream(web, factories.person()) as page:
        page.value(channel, 1.0)
        assert listeners() == 1
    until(lambda: listeners() == 0, 5, "the listener ends with the last page")


def test_a_lost_database_connection_comes_back_by_itself(web: Web, channel: Channel) -> None:
    with stream(web, factories.person()) as page:
        page.first(lambda kind, _content: kind == "snapshot")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = %s",
                [live.APPLICATION],
            )
        store(channel, 7.0)
        page.value(channel, 7.0)


def test_an_edited_instrument_is_told_to_open_pages(web: Web, channel: Channel) -> None:
    with stream(web, factories.person()) as page:
        page.first(lambda kind, _content: kind == "snapshot")
        Instrument.objects.filter(pk=channel.instrument_id).update(interval=7)
        page.first(lambda kind, _content: kind == "changed")


@pytest.mark.parametrize("query", ["?instrument=", "?instrument=1", "?instrument=%00", "?only=bread"])
def test_a_malformed_question_is_refused(web: Web, query: str) -> None:
    assert httpx.get(f"{web.url}/live/{query}", cookies=cookies(factories.person())).status_code == 400


def test_nobody_listens_without_a_login(web: Web) -> None:
    assert httpx.get(f"{web.url}/live/").status_code == 401


def test_the_server_stops_in_time_while_pages_are_open(channel: Channel, tmp_path: Path) -> None:
    user = factories.person()
    store(channel, 1.0)
    with Web(tmp_path) as web:
        web.start()
        with stream(web, user) as page, stream(web, user) as other:
            for each in (page, other):
                each.value(channel, 1.0)
            code = web.stop(within=10)
            assert [kind for kind, _content in page if kind != "alarms"] == []
        assert code in (0, -signal.SIGTERM)  # not killed; uvicorn ends by the signal once it has shut down
        assert "Application shutdown complete" in web.output
        assert "Traceback" not in web.output


async def test_a_stream_ends_when_its_session_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "SESSION_CHECK_EVERY", 0.0)
    monkeypatch.setattr(live, "BEAT", 0.05)
    request = RequestFactory().get("/live/")
    request.session = SessionStore("gone-long-ago")
    events = views.events(request, None)
    assert [await anext(events), await anext(events)] == [views.RETRY, live.event("signed-out", {})]
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    assert live.hub.clients == set()


async def test_a_slow_page_gets_the_newest_of_each_channel() -> None:
    client = live.Client(None)
    for value in (1.0, 2.0, 3.0):
        client.put({5: Now(5, 10, value, 0, None, 10)}, {"a": Standing(read=1, seen=10)})
    taken = await asyncio.wait_for(client.take(), 1)
    assert taken.count(b"event:") == 1
    assert b'"latest":[[5,10,3.0,0,null,10]]' in taken


def test_an_overview_is_told_how_a_run_goes_on_and_that_it_has_ended(web: Web, channel: Channel) -> None:
    instrument = str(channel.instrument_id)
    run = Run.objects.create(
        instrument=channel.instrument,
        key="r",
        kind="qpcr",
        title="Plate",
        state="running",
        told_at=timezone.now(),
    )
    with stream(web, factories.person()) as page:
        content = page.first(lambda _kind, content: content.get("runs"))
        assert content["runs"] == {instrument: ["Running · Plate", None]}
        Run.objects.update(progress=0.5)
        notify()
        content = page.first(lambda _kind, content: content.get("runs"))
        assert content["runs"] == {instrument: ["Running · Plate", 50]}
        run.state = "completed"
        run.save(update_fields=["state"])
        notify()
        content = page.first(lambda _kind, content: content.get("runs"))
        assert content["runs"] == {instrument: None}


def test_every_page_is_told_how_many_alarms_stand(web: Web, channel: Channel) -> None:
    user = factories.person()
    of_one = f"?instrument={channel.instrument_id}"
    with (
        stream(web, user) as overview,
        stream(web, user, of_one) as one,
        stream(web, user, "?only=alarms") as page,
    ):
        pages = (overview, one, page)
        before = [each.first(lambda kind, _content: kind == "alarms") for each in pages]
        assert [each["unacknowledged"] for each in before] == [0, 0, 0]
        made = alarm(channel, priority=2)
        told = [each.first(lambda kind, _content: kind == "alarms") for each in pages]
        assert all(each["counts"] == [0, 1, 0, 0] and each["standing"] == 1 for each in told)
        assert {each["revision"] for each in told} != {each["revision"] for each in before}
        services.acknowledge(made, OPERATOR, Source.API)
        told = [each.first(lambda kind, _content: kind == "alarms") for each in pages]
        assert all(each["unacknowledged"] == 0 and each["standing"] == 1 for each in told)
        assert listeners() == 1


def test_a_page_of_alarms_gets_the_channels_that_are_in_alarm(web: Web) -> None:
    *_others, channel = factories.instrument("Bath 1").channels.all()
    other = first_channel(factories.instrument("Bath 2"))
    alarm(channel)
    with (
        stream(web, factories.person(), "?only=alarms") as page,
        stream(web, factories.person("b")) as overview,
    ):
        page.first(lambda kind, _content: kind == "alarms")
        overview.first(lambda kind, _content: kind == "alarms")
        store(other, 1.0)
        store(channel, 31.5)
        notify()
        content = page.first(lambda _kind, content: content.get("latest"))
        assert [each[0] for each in content["latest"]] == [channel.pk]
        assert set(content["standings"]) == {str(channel.instrument_id)}
        overview.value(channel, 31.5)


async def test_alarms_are_told_after_the_present_and_only_once() -> None:
    client = live.Client(None)
    for unacknowledged in (1, 2):
        client.put_tally(Tally([unacknowledged, 0, 0, 0], 2, 17, []))
    client.put({5: Now(5, 10, 1.0, 0, None, 10)}, {})
    taken = await asyncio.wait_for(client.take(), 1)
    assert taken.index(b"event: snapshot") < taken.index(b"event: alarms")
    assert taken.count(b"event: alarms") == 1
    assert b'"unacknowledged":2' in taken
    client.put({5: Now(5, 11, 1.0, 0, None, 11)}, {})
    assert b"alarms" not in await asyncio.wait_for(client.take(), 1)
