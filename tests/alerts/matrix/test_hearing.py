"""What somebody said in a room: whose word counts, what it does, and that it does so once."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User

from alerts.lifecycle import State
from alerts.matrix import commands, hearing
from alerts.matrix.hearing import Heard, Owed
from alerts.models import (
    Alarm,
    AlarmEvent,
    CommandOutcome,
    MatrixCommand,
    MatrixMessage,
    MatrixPerson,
    MatrixRoom,
    MatrixStranger,
    Notice,
    NoticeKind,
    NoticeLine,
)
from devices.models import Instrument
from tests.alerts import factories
from tests.factories import person
from tests.telemetry import factories as telemetry
from tests.telemetry.factories import NOW

pytestmark = pytest.mark.django_db

ROOM = "!room:lab.test"
ANNA = "@anna:lab.test"
RIGHTS = ("acknowledge_alarm", "shelve_alarm")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services take the time themselves."""
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW)


@pytest.fixture
def room() -> MatrixRoom:
    return MatrixRoom.objects.create(address=ROOM, room_id=ROOM)


@pytest.fixture
def anna(room: MatrixRoom) -> User:
    user = person("anna", staff=False)
    user.user_permissions.set(Permission.objects.filter(codename__in=RIGHTS))
    MatrixPerson.objects.create(matrix_id=ANNA, user=user)
    return user


@pytest.fixture
def bath() -> Instrument:
    return telemetry.instrument(telemetry.edge())


@pytest.fixture
def alarm(bath: Instrument) -> Alarm:
    return factories.alarm(bath.channels.get(key="a"))


_count = iter(range(10_000))


def heard(body: str, *, sender: str = ANNA, age: float = 0.5, target: str = "", **more: object) -> Heard:
    event_id = str(more.pop("event_id", f"${next(_count)}"))
    return Heard(event_id, ROOM, sender, body, age, target, is_reaction=bool(more.pop("is_reaction", False)))


def said(body: str, **more: object) -> str:
    """What the bot answers."""
    owed = hearing.take(heard(body, **more), NOW)  # type: ignore[arg-type]
    return owed.command.answer if owed else ""


def shown(*alarms: Alarm) -> str:
    """The event of a message that tells of these alarms."""
    notice = Notice.objects.create(
        contact=factories.contact(), kind=NoticeKind.ALARM, created_at=NOW, due_at=NOW
    )
    for each in alarms:
        NoticeLine.objects.create(notice=notice, alarm=each, event=each.journal.latest("id"))
    MatrixMessage.objects.create(room_id=ROOM, event_id="$alarm", notice=notice, shown="", sent_at=NOW)
    return "$alarm"


def state(alarm: Alarm) -> str:
    return str(Alarm.objects.get(pk=alarm.pk).state)


@pytest.mark.usefixtures("anna")
def test_a_repeat_of_an_event_is_the_same_command(alarm: Alarm) -> None:
    event = heard(f"!ack {alarm.pk}")
    first = hearing.take(event, NOW)
    assert first is not None
    again = hearing.take(event, NOW)
    assert again == Owed(first.command)  # not answered yet: the answer is owed, and nothing is run
    hearing.answered(first.command, NOW)
    assert hearing.take(event, NOW) is None
    assert AlarmEvent.objects.filter(event="acknowledge").count() == 1


@pytest.mark.usefixtures("anna")
@pytest.mark.parametrize("age", [15.1, 3600.0])
def test_what_is_too_old_is_not_run(alarm: Alarm, age: float) -> None:
    assert said(f"!ack {alarm.pk}", age=age).startswith("too old, not run: it was said ")
    assert state(alarm) == State.UNACKNOWLEDGED


@pytest.mark.usefixtures("anna")
@pytest.mark.parametrize("age", [0.0, 14.9])
def test_what_is_not_too_old_is_run(alarm: Alarm, age: float) -> None:
    assert said(f"!ack {alarm.pk}", age=age).startswith("acknowledged: ")


@pytest.mark.usefixtures("room")
def test_strangers_are_told_once_and_never_again(alarm: Alarm) -> None:
    assert "I do not know you" in said("!status", sender="@eve:lab.test")
    assert said(f"!ack {alarm.pk}", sender="@eve:lab.test") == ""
    assert said("👍", sender="@eve:lab.test", is_reaction=True, target=shown(alarm)) == ""
    assert "I do not know you" in said("!status", sender="@mallory:lab.test")
    assert MatrixStranger.objects.count() == 2
    assert MatrixCommand.objects.count() == 2  # whoever is in the room cannot fill the database
    assert state(alarm) == State.UNACKNOWLEDGED


def test_a_user_who_is_not_active_any_more_is_a_stranger(anna: User, alarm: Alarm) -> None:
    User.objects.update(is_active=False)
    assert "I do not know you" in said(f"!ack {alarm.pk}")


@pytest.mark.parametrize("switch", ["enabled", "allow_commands"])
def test_a_room_that_is_not_open_is_silent(anna: User, alarm: Alarm, switch: str) -> None:
    MatrixRoom.objects.update(**{switch: False})
    assert said(f"!ack {alarm.pk}") == ""
    assert said("!status", sender="@eve:lab.test") == ""
    assert not MatrixCommand.objects.exists()


@pytest.mark.usefixtures("anna")
def test_so_many_a_minute_and_the_limit_is_said_once() -> None:
    answers = [said("!alarms") for _time in range(hearing.MOST + 3)]
    assert answers[: hearing.MOST] == ["No alarm stands."] * hearing.MOST
    assert answers[hearing.MOST :] == ["not run: at most 10 commands a minute, please", "", ""]
    later = hearing.take(heard("!alarms"), NOW + hearing.WITHIN + timedelta(seconds=1))
    assert later is not None
    assert later.command.outcome == CommandOutcome.DONE


def test_rights_are_those_of_the_user_and_not_of_the_room(anna: User, alarm: Alarm) -> None:
    anna.user_permissions.clear()
    assert "permission alerts.acknowledge_alarm" in said(f"!ack {alarm.pk}")
    assert "permission alerts.shelve_alarm" in said(f"!shelve {alarm.pk} 1h because")
    assert "permission alerts.acknowledge_alarm" in said("👍", is_reaction=True, target=shown(alarm))
    assert state(alarm) == State.UNACKNOWLEDGED
    assert set(MatrixCommand.objects.values_list("outcome", flat=True)) == {CommandOutcome.REFUSED}


def test_acknowledging_and_shelving_by_number(anna: User, alarm: Alarm) -> None:
    assert said(f"!ack {alarm.pk} on my way") == f"acknowledged: {alarm.text}"
    row = AlarmEvent.objects.get(event="acknowledge")
    assert (row.by, row.comment, row.source) == (anna, "on my way", "matrix")
    assert said(f"!shelve {alarm.pk} 2h sensor is being replaced").startswith(
        "shelved until 2026-11-20 14:00 UTC"
    )
    current = Alarm.objects.get()
    assert (current.aside_reason, current.aside_until) == (
        "sensor is being replaced",
        NOW + timedelta(hours=2),
    )
    assert said(f"!unshelve {alarm.pk}").startswith("unshelved: ")


@pytest.mark.usefixtures("anna")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("!ack", "which alarm?"),
        ("!ack 999999", "there is no alarm 999999"),
        ("!ack 999999999999999999", "there is no alarm 999999999999999999"),
        ("!ack bath", "which alarm?"),
        ("!shelve {}", "for how long?"),
        ("!shelve {} soon because", "for how long?"),
        ("!shelve {} 1h", "a reason in words is needed"),
        ("!shelve {} 8d because of this", "at most 7 days"),
        ("!shelve {} 999999d because of this", "at most 7 days"),
        ("!shelve {} 0m because of this", "is over already"),
        ("!unshelve {}", "it is not shelved"),
        ("!nonsense", "Unknown command: !nonsense"),
        ("!help nonsense", "Unknown command: !nonsense"),
        ("!help !shelve", "!shelve <alarm> <time> <reason>"),
        ("!status bath 9", "Machine bath 9 not found"),
        ("!latest", "of which instrument?"),
        ("!plot", "of which channel?"),
        ("!plot bath", "bath has no channel"),
        ("!plot bath z 3", "some are: a, b"),
        ("!plot bath a soon", "bath has no channel"),
    ],
)
def test_what_is_not_as_it_should_be_is_said_in_words(alarm: Alarm, body: str, words: str) -> None:
    assert words in said(body.format(alarm.pk))


@pytest.mark.usefixtures("anna")
@pytest.mark.parametrize("body", ["!ack", "ack", "Ack, on my way", "!ack on my way", "acknowledge"])
def test_a_reply_acknowledges_all_alarms_of_the_message(bath: Instrument, alarm: Alarm, body: str) -> None:
    other = factories.alarm(bath.channels.get(key="b"))
    answer = said(body, target=shown(alarm, other))
    assert answer.startswith("2 alarms:")
    assert {state(alarm), state(other)} == {State.ACKNOWLEDGED}


@pytest.mark.usefixtures("anna")
def test_a_number_in_a_reply_names_another_alarm(bath: Instrument, alarm: Alarm) -> None:
    other = factories.alarm(bath.channels.get(key="b"))
    said(f"!ack {other.pk}", target=shown(alarm))
    assert (state(alarm), state(other)) == (State.UNACKNOWLEDGED, State.ACKNOWLEDGED)


@pytest.mark.usefixtures("anna")
def test_one_that_is_acknowledged_already_does_not_hold_up_the_others(bath: Instrument, alarm: Alarm) -> None:
    other = factories.alarm(bath.channels.get(key="b"))
    target = shown(alarm, other)
    said(f"!ack {alarm.pk}")
    assert said("👍", is_reaction=True, target=target) == f"acknowledged: {other.text}"
    assert said("👍", is_reaction=True, target=target) == "there is nothing to acknowledge any more"


@pytest.mark.usefixtures("anna")
@pytest.mark.parametrize(
    ("key", "after"),
    [
        ("👍", State.ACKNOWLEDGED),
        ("👍\ufe0f", State.ACKNOWLEDGED),
        ("👍🏿", State.ACKNOWLEDGED),
        ("🔕", State.SHELVED),
        ("👎", State.UNACKNOWLEDGED),
        ("🎉", State.UNACKNOWLEDGED),
        ("", State.UNACKNOWLEDGED),
    ],
)
def test_reactions(alarm: Alarm, key: str, after: State) -> None:
    said(key, is_reaction=True, target=shown(alarm))
    assert state(alarm) == after


@pytest.mark.usefixtures("anna", "alarm")
@pytest.mark.parametrize("is_reaction", [True, False])
def test_what_people_say_to_each_other_is_not_for_us(is_reaction: bool) -> None:
    assert said("👍" if is_reaction else "ack", is_reaction=is_reaction, target="$of-somebody-else") == ""
    assert said("nice weather") == ""
    assert not MatrixCommand.objects.exists()


@pytest.mark.parametrize(
    "body", ["!open bath", "!close Bath", '!abort "bath"', "!stop BATH", "!command bath RP"]
)
def test_control_is_off_after_the_checks_of_room_and_rights(
    anna: User, room: MatrixRoom, bath: Instrument, body: str
) -> None:
    assert said(body) == "instruments are not controlled from this room"
    MatrixRoom.objects.update(allow_control=True)
    assert "permission devices.change_instrument" in said(body)
    User.objects.update(is_staff=True)
    assert said(body) == commands.CONTROL_IS_OFF


@pytest.mark.parametrize("body", ["!open", "!open nothing", "!open bath now", "!command bath"])
def test_control_of_what_there_is_not(anna: User, bath: Instrument, body: str) -> None:
    MatrixRoom.objects.update(allow_control=True)
    User.objects.update(is_staff=True)
    answer = said(body)
    assert (
        answer in ("which machine?", "which command? !command <machine> <command>") or "not found" in answer
    )


@pytest.mark.usefixtures("anna")
def test_who_says_who_one_is_and_what_one_may() -> None:
    answer = said("!who")
    assert answer.startswith("@anna:lab.test is anna to Labsite.")
    assert "you may acknowledge alarms" in answer
    assert "you may not control instruments" in answer


@pytest.mark.usefixtures("anna")
def test_a_mistake_in_a_command_is_told_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_asked: object, _rest: str) -> None:
        raise KeyError("secret")

    entry = commands.Entry(broken, "!status", "")  # type: ignore[arg-type]
    monkeypatch.setitem(commands.COMMANDS, "status", entry)
    answer = said("!status")
    assert answer.startswith("that went wrong")
    assert "secret" not in answer
    assert MatrixCommand.objects.get().outcome == CommandOutcome.FAILED


@pytest.mark.usefixtures("anna")
def test_alarms_are_listed_by_priority_and_their_text_is_no_html(bath: Instrument) -> None:
    factories.alarm(bath.channels.get(key="a"), priority=3)
    factories.alarm(bath.channels.get(key="b"), priority=1, text="<b>bath</b> & more")
    owed = hearing.take(heard("!alarms"), NOW)
    assert owed is not None
    lines = owed.command.answer.splitlines()
    assert lines[0] == "2 alarms stand:"
    assert "■ 1 critical · <b>bath</b> & more: unacknowledged, raised" in lines[1]
    assert "&lt;b&gt;bath&lt;/b&gt; &amp; more" in owed.command.html


@pytest.mark.usefixtures("anna")
def test_answers_that_were_owed_too_long_are_given_up() -> None:
    first = hearing.take(heard("!alarms"), NOW - timedelta(minutes=20))
    second = hearing.take(heard("!alarms"), NOW)
    assert first
    assert second
    assert hearing.owed(NOW - timedelta(minutes=10)) == [second.command]
    hearing.forget(NOW - timedelta(minutes=10))
    assert list(MatrixCommand.objects.all()) == [second.command]
