"""What people read of alarms and notices."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from alerts.models import Alarm, Contact, Notice, NoticeKind, Priority, Route, RuleKind, Source
from alerts.notices import lines, words
from alerts.services import acknowledge
from devices.models import Instrument
from tests import factories as people
from tests.alerts import factories
from tests.alerts.factories import NOW
from tests.alerts.notices.kit import told
from tests.telemetry.factories import moment

pytestmark = pytest.mark.django_db


def notice(
    *alarms: Alarm, kind: str = NoticeKind.ALARM, route: Route | None = None, contact: Contact | None = None
) -> Notice:
    """A notice of what these alarms were raised for last."""
    made = Notice.objects.create(
        contact=contact or factories.contact(f"contact {Contact.objects.count()}"),
        route=route, kind=kind, created_at=NOW, due_at=NOW,
    )  # fmt: skip
    raises = [alarm.journal.filter(event="raise").latest("id") for alarm in alarms]
    lines.add(made, [(event.pk, event.alarm_id) for event in raises])
    return made


@pytest.fixture
def voltage(bath: Instrument) -> Alarm:
    """UPS rack A, whose input voltage is low."""
    bath.name = "UPS rack A"
    bath.save()
    channel = bath.channels.get(key="a")
    channel.label, channel.unit, channel.digits = "input voltage", "V", 1
    channel.save()
    rule = factories.rule(
        RuleKind.LOW, "Voltage", low=180.0, key="a", priority=Priority.HIGH, guidance="Look at the mains."
    )
    return factories.alarm(channel, rule, text="UPS rack A input voltage below 180 V", value=176.25)


def test_an_alarm_says_what_where_since_when_and_what_to_do(voltage: Alarm, settings: Any) -> None:
    settings.PUBLIC_URL = "https://lab.example.org"
    of = notice(voltage)
    assert words.message_of(of, NOW).text.splitlines() == [
        "▲ 2 high · UPS rack A input voltage below 180 V",
        "raised 11:59 UTC, value 176.2 V",
        "Look at the mains.",
        f"alarm {voltage.pk} · !ack {voltage.pk}",
        f"https://lab.example.org/alarms/{voltage.pk}/ · notice {str(of.pk)[:8]}",
    ]


def test_times_are_by_the_clocks_of_the_route(voltage: Alarm) -> None:
    route = factories.route(zone="America/New_York")
    said = words.message_of(notice(voltage, route=route), moment(86_400)).lines[0]
    assert said == "raised 2026-11-20 06:59 EST, value 176.2 V"
    factories.cleared(voltage, at=60)
    said = words.message_of(notice(voltage, route=route), moment(120)).lines[0]
    assert said == "raised 06:59 EST, returned to normal 07:01 EST (after 2 min), value 176.2 V"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0.4 s"), (42, "42 s"), (60, "1 min"), (100, "2 min"), (3600, "1 h"), (5400, "1 h 30 min")],
)
def test_how_long(seconds: float, said: str) -> None:
    assert words.since(NOW - timedelta(seconds=seconds), NOW) == said


def test_who_has_acknowledged_is_said(voltage: Alarm) -> None:
    anna = people.person("anna", staff=True)
    acknowledge(voltage, anna, Source.PAGE)
    Alarm.objects.filter(pk=voltage.pk).update(acknowledged_at=moment(30))
    message = words.message_of(notice(voltage), moment(60))
    assert "acknowledged by anna 12:00 UTC" in message.lines
    assert message.lines[-1] == f"alarm {voltage.pk}"
    assert message.alarms[0].acknowledged_by == "anna"
    assert User.objects.count() == 1


def test_consequences_are_counted_under_their_cause(bath: Instrument) -> None:
    cause = factories.alarm(bath)
    for channel in bath.channels.all():
        consequence = factories.alarm(channel, factories.rule(RuleKind.STALE))
        factories.moved(consequence, "suppress")
        Alarm.objects.filter(pk=consequence.pk).update(cause=cause)
    message = words.message_of(notice(cause), NOW)
    assert "2 consequences suppressed under it" in message.lines
    assert message.alarms[0].suppressed == 2


def test_the_first_few_are_named_and_the_rest_counted(bath: Instrument) -> None:
    rule = factories.rule(RuleKind.EVENT)
    alarms = [
        factories.alarm(bath, factories.rule(RuleKind.NOT_CONNECTED), text=f"bath {number}")
        for number in range(words.FEW + 3)
    ]
    factories.cleared(alarms[0], at=-1)
    critical = factories.alarm(bath, rule, priority=Priority.CRITICAL, text="bath: fire")
    message = words.message_of(notice(*alarms, critical), NOW)
    assert message.title == "■ 1 critical · bath: fire + 11 more"
    assert message.lines[0] == "■ 1 critical · bath: fire"
    assert message.lines[-1] == "+ 4 more; of all, 11 stand and 1 have returned to normal"
    assert (message.count, message.standing, len(message.alarms)) == (12, 11, words.FEW)
    assert message.priority == Priority.CRITICAL


def test_words_of_instruments_are_never_html_nor_lines_of_their_own(bath: Instrument) -> None:
    alarm = factories.alarm(
        bath,
        factories.rule(RuleKind.EVENT, guidance="<b>run</b>"),
        text='<img src=x onerror="x()">\r\nBcc: all@example.org \u202eesrever',
        reason="<script>\n& co",
    )
    message = words.message_of(notice(alarm), NOW)
    assert "<img" not in message.html
    assert "<script" not in message.html
    assert "<b>run" not in message.html
    assert "&lt;img src=x onerror=&quot;x()&quot;&gt; Bcc: all@example.org esrever" in message.html
    assert message.title == '◆ 3 medium · <img src=x onerror="x()"> Bcc: all@example.org esrever'
    assert "<script> & co" in message.lines


def test_a_long_text_does_not_make_a_long_title(bath: Instrument) -> None:
    message = words.message_of(notice(factories.alarm(bath, text="x" * 400)), NOW)
    assert len(message.title) <= words.TITLE_LENGTH


def test_who_is_told_in_place_of_another_is_told_why(voltage: Alarm) -> None:
    before = notice(voltage, contact=factories.contact("Anna"))
    after = notice(voltage, contact=factories.contact("Ben"))
    after.follows = before
    assert words.message_of(after, NOW).lines[0] == "In place of “Anna”, which cannot be reached."
    assert words.message_of(after, NOW).follows == str(before.pk)


def test_a_test_says_that_it_is_one(db: None) -> None:
    message = words.message_of(notice(kind=NoticeKind.TEST, contact=factories.contact("Anna")), NOW)
    assert message.title == "Test of “Anna”: notices of Labsite arrive here"


def test_the_daily_word_says_what_stands_of_what_the_route_is_about(voltage: Alarm) -> None:
    factories.route(factories.contact("all"), name="all", daily=None)
    every = notice(kind=NoticeKind.DAILY)
    assert words.message_of(every, NOW).title == "1 alarm stands (12:00 UTC)"
    narrow = factories.route(name="narrow", least_priority=Priority.CRITICAL)
    word = words.message_of(notice(kind=NoticeKind.DAILY, route=narrow), NOW)
    assert word.title == "All is well: no alarm stands (12:00 UTC)"
    tagged = factories.route(name="tagged", tags=["cellar"])
    assert words.message_of(notice(kind=NoticeKind.DAILY, route=tagged), NOW).title.startswith("All is well")


def test_a_latched_alarm_says_that_it_waits_for_somebody(bath: Instrument) -> None:
    factories.route(factories.contact())
    alarm = factories.alarm(bath.channels.get(key="a"), factories.rule(latch=True))
    told()
    factories.cleared(alarm, at=30)
    (message,) = told(30)
    assert message.title == "◆ 3 medium · bath a above 30: returned to normal, latched"
    assert message.standing == 1
