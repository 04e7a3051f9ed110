"""The bot on a real homeserver, in encrypted rooms, with people who use another client."""

import base64
import json
import time
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image

from alerts.lifecycle import State
from alerts.matrix.hearing import OLD_S
from alerts.models import (
    Alarm,
    AlarmEvent,
    CommandOutcome,
    MatrixCommand,
    MatrixMessage,
    MatrixPerson,
    MatrixRoom,
    Notice,
    NoticeKind,
    NoticeState,
    Priority,
    Source,
)
from alerts.notices import trials
from devices.models import Heartbeat
from devices.services import OPERATOR
from tests.alerts import factories
from tests.alerts.matrix.lab import Bot, Room, held_table, instrument, make_room, samples
from tests.alerts.matrix.person import Person, Said
from tests.synapse import Synapse
from tests.waiting import until


def told(room: Room, *alarms: Alarm, kind: str = NoticeKind.ALARM) -> Said:
    """The message of a notice about these alarms, or a standing one."""
    alarms = alarms or (room.alarm(),)
    before = len(room.of_bot(alarms[0].text))
    notice = room.notice(*alarms, kind=kind)
    said = room.heard(alarms[0].text, before + 1)
    until(lambda: is_sent(notice), 5, "it is written down")
    return said


def is_sent(notice: Notice) -> bool:
    return Notice.objects.filter(pk=notice.pk, state=NoticeState.SENT).exists()


def heartbeat() -> dict[str, str]:
    said: dict[str, str] = Heartbeat.objects.get(process="matrix").fields
    return said


def state_of(alarm: Alarm) -> str:
    return str(Alarm.objects.get(pk=alarm.pk).state)


def test_an_alarm_arrives_encrypted_and_readable(room: Room) -> None:
    alarm = room.alarm(text="bath <b>a</b> above 30 & more", priority=Priority.HIGH)
    said = told(room, alarm)
    assert said.is_encrypted
    assert said.content["msgtype"] == "m.text"
    assert said.content["m.mentions"] == {"room": True}
    assert "bath &lt;b&gt;a&lt;/b&gt; above 30 &amp; more" in said.content["formatted_body"]
    assert not room.anna.unread


def test_the_account_says_that_the_bots_device_is_its_own(room: Room) -> None:
    """The chain of signatures, looked at by the primitives alone: master key, self-signing key, device."""
    keys = until(lambda: signed_keys(room), 10, "the device is signed", every=0.1)
    master, signing, device = (keys[name] for name in ("master_keys", "self_signing_keys", "device_keys"))
    (master_key,) = master["keys"].values()
    (signing_key,) = signing["keys"].values()
    for signed, by in ((signing, master_key), (device, signing_key)):
        signature = signed["signatures"][room.bot_id][f"ed25519:{by}"]
        plain = {name: value for name, value in signed.items() if name not in ("signatures", "unsigned")}
        message = json.dumps(plain, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
        Ed25519PublicKey.from_public_bytes(decoded(by)).verify(decoded(signature), message)


def signed_keys(room: Room) -> dict[str, Any]:
    """What the homeserver tells anna of the bot's keys, once its device is signed twice."""
    keys = room.anna.keys_of(room.bot_id)
    keys["device_keys"] = keys["device_keys"]["labsite"]
    return keys if len(keys["device_keys"]["signatures"][room.bot_id]) == 2 else {}


def decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def test_less_urgent_alarms_call_nobody(room: Room) -> None:
    assert told(room, room.alarm(priority=Priority.MEDIUM)).content["m.mentions"] == {}


def test_an_alarm_has_one_thread_and_its_message_says_how_it_stands(room: Room) -> None:
    alarm = room.alarm()
    root = told(room, alarm)
    assert not root.thread
    room.say(f"!ack {alarm.pk} on my way")
    until(lambda: "acknowledged by anna" in room.anna.shown(root), 10, "the message is edited")
    factories.cleared(alarm, at=room.seconds(-1))
    recovery = told(room, alarm, kind=NoticeKind.RECOVERY)
    assert recovery.thread == root.event_id
    until(lambda: "returned to normal" in room.anna.shown(root), 10, "and edited again")
    # What is raised anew is another trouble, with a thread of its own.
    again = room.raised_again(alarm)
    assert not told(room, again).thread


def test_acknowledged_by_a_reply(room: Room) -> None:
    alarm = room.alarm()
    room.anna.reply(told(room, alarm), "ack, looking at it")
    answer = room.heard("acknowledged: ")
    assert answer.content["msgtype"] == "m.notice"
    row = AlarmEvent.objects.get(alarm=alarm, event="acknowledge")
    assert (row.by, row.source, row.comment) == (room.user, Source.MATRIX, "looking at it")


def test_acknowledged_by_a_word_in_its_thread(room: Room) -> None:
    alarm = room.alarm()
    root = told(room, alarm)
    asked = room.anna.say_in_thread(root, "ack")
    answer = room.heard("acknowledged: ")
    assert (answer.thread, answer.answers) == (root.event_id, asked)
    assert state_of(alarm) == State.ACKNOWLEDGED


def test_acknowledged_and_shelved_by_reactions(room: Room) -> None:
    alarm = room.alarm()
    said = told(room, alarm)
    room.anna.react(said, "👍🏽")
    room.heard("acknowledged: ")
    assert state_of(alarm) == State.ACKNOWLEDGED
    room.anna.react(said, "🔕")
    room.heard("shelved until ")
    assert state_of(alarm) == State.SHELVED
    until(lambda: "is shelved by anna until" in room.anna.shown(said), 10, "the message says so")


def test_acknowledged_by_its_number_and_told_what_it_cannot_do(room: Room) -> None:
    alarm = room.alarm()
    room.say(f"!ACK #{alarm.pk}")
    room.heard("acknowledged: ")
    room.say(f"!ack {alarm.pk}")
    room.heard("there is nothing to acknowledge")
    room.say("!nonsense")
    room.heard("Unknown command: !nonsense")


def test_whom_labsite_does_not_know_is_told_so_once(room: Room, eve: Person) -> None:
    alarm = room.alarm()
    room.invite(eve)
    said = told(room, alarm)
    eve.say(room.room_id, f"!ack {alarm.pk}")
    refusal = room.heard("I do not know you")
    seen = until(lambda: [each for each in eve.heard if each.event_id == said.event_id], 10, "eve sees it")
    eve.react(seen[0], "👍")
    eve.say(room.room_id, "!status")
    room.say("!alarms")
    room.heard("One alarm stands:")
    assert room.of_bot("I do not know you") == [refusal]
    assert state_of(alarm) == State.UNACKNOWLEDGED


def test_a_person_without_the_right_is_refused(room: Room) -> None:
    room.user.user_permissions.clear()
    alarm = room.alarm()
    room.anna.react(told(room, alarm), "👍")
    room.heard("it needs the permission alerts.acknowledge_alarm")
    assert state_of(alarm) == State.UNACKNOWLEDGED


def test_a_room_that_is_not_open_for_commands_hears_nothing(room: Room, anna: Person, bot_id: str) -> None:
    other = anna.make_room(bot_id)
    MatrixRoom.objects.create(address=other, allow_commands=False)
    until(lambda: anna.has_joined(other, bot_id), 15, "it has joined", every=0.05)
    alarm = room.alarm()
    asked = anna.say(other, f"!ack {alarm.pk}")
    for count in (1, 2):  # the second is answered when what came with the first is done
        room.say("!who")
        room.heard("@anna:lab.test is anna to Labsite.", count)
    assert not MatrixCommand.objects.filter(event_id=asked).exists()
    assert state_of(alarm) == State.UNACKNOWLEDGED


def test_it_joins_what_it_is_configured_for_and_nothing_else(room: Room, anna: Person, bot_id: str) -> None:
    other = anna.make_room(bot_id)
    by_name = anna.make_room(bot_id, alias="cellar")
    MatrixRoom.objects.create(address="#cellar:lab.test")
    until(lambda: anna.has_joined(by_name, bot_id), 15, "it joins by the room's name", every=0.05)
    assert MatrixRoom.objects.get(address="#cellar:lab.test").room_id == by_name
    assert not anna.has_joined(other, bot_id)
    # A contact is a reason to join, and to tell at once, but not to listen.
    contact = factories.contact("other", "matrix", address=other)
    assert trials.test_contact(contact, OPERATOR) == trials.Tested(ok=True, words=f"{other} has taken it")
    until(lambda: anna.of(bot_id, other, "notices of Labsite arrive here"), 10, "anna sees it")
    assert not MatrixRoom.objects.get(address=other).allow_commands


def test_a_person_is_told_in_a_room_of_two(room: Room, eve: Person) -> None:
    room.contact = factories.contact("eve", "matrix", address=eve.matrix_id)
    invited = until(lambda: list(eve.client.invited_rooms), 15, "eve is invited", every=0.05)
    eve.join(invited[0])
    alarm = room.alarm()
    room.notice(alarm)
    said = until(lambda: eve.of(room.bot_id, invited[0], alarm.text), 15, "she is told")
    assert said[0].is_encrypted


def test_who_was_put_out_comes_back_when_invited(room: Room) -> None:
    room.anna.put_out(room.room_id, room.bot_id)
    until(
        lambda: "refuses" in MatrixRoom.objects.get().problem, 15, "it cannot come back by itself", every=0.05
    )
    room.anna.invite(room.room_id, room.bot_id)
    until(lambda: room.anna.has_joined(room.room_id, room.bot_id), 15, "it comes back", every=0.05)
    room.say("!who")
    room.heard("is anna to Labsite")


def test_a_room_that_cannot_be_joined_says_why(room: Room, eve: Person) -> None:
    closed = eve.make_room()
    contact = factories.contact("closed", "matrix", address=closed)
    tested = trials.test_contact(contact, OPERATOR)
    assert not tested.ok
    assert "the bot is not in the room" in tested.words
    assert "refuses" in MatrixRoom.objects.get(address=closed).problem


# ---- when things break


def test_a_homeserver_that_was_away_loses_nothing(room: Room, synapse: Synapse) -> None:
    first = room.alarm()
    told(room, first)
    synapse.stop()
    try:
        late = room.alarm("oven")
        notice = room.notice(late)
        until(notice.attempts.exists, 30, "it was tried")
        until(lambda: heartbeat()["state"].startswith("away"), 30, "the bot says so")
    finally:
        synapse.start()
    room.heard(late.text, within=30)
    until(lambda: is_sent(notice), 5, "it is written down")
    assert len(room.of_bot(late.text)) == 1
    room.say("!who")
    room.heard("is anna to Labsite")


def test_after_a_restart_it_is_the_same_device_and_reads_on(room: Room) -> None:
    room.say("!who")
    room.heard("is anna to Labsite")
    before = heartbeat()
    room.bot.restart()
    room.say("!who")  # with the same key, which she gave the bot before it was restarted
    answer = room.heard("is anna to Labsite", 2)
    assert (heartbeat()["device"], heartbeat()["fingerprint"]) == (before["device"], before["fingerprint"])
    assert answer.is_encrypted
    assert not room.anna.unread


def test_a_bot_that_is_killed_before_it_has_noted_what_it_sent_sends_it_once(room: Room) -> None:
    alarm = room.alarm()
    with held_table("alerts_matrixmessage"):  # what it writes when a message is in the room
        notice = room.notice(alarm)
        said = room.heard(alarm.text)
        room.bot.kill()
    assert not is_sent(notice)
    room.bot.start()
    until(lambda: is_sent(notice), 15, "it is written down")
    assert MatrixMessage.objects.get(notice=notice).event_id == said.event_id
    room.say("!who")
    room.heard("is anna to Labsite")
    assert room.of_bot(alarm.text) == [said]


def test_a_homeserver_that_wants_to_be_left_alone_is(room: Room, synapse: Synapse) -> None:
    synapse.limit(room.bot_id, 1, 1)
    try:
        alarms = [room.alarm(f"bath {number}") for number in range(6)]
        notices = [room.notice(alarm) for alarm in alarms]
        for alarm in alarms:
            room.heard(alarm.text, within=40)
    finally:
        synapse.unlimit(room.bot_id)
    assert "takes no more for" in room.bot.output
    for notice in notices:
        until(partial(is_sent, notice), 5, "it is written down")
    assert all(len(room.of_bot(alarm.text)) == 1 for alarm in alarms)


def test_what_was_said_while_it_was_away_is_too_old(room: Room) -> None:
    alarm = room.alarm()
    said = told(room, alarm)
    assert room.bot.stop() == 0
    asked = room.anna.react(said, "👍")
    end = time.monotonic() + OLD_S
    until(lambda: time.monotonic() > end, OLD_S + 1, "it is old")
    room.bot.start()
    room.heard("too old, not run")
    assert MatrixCommand.objects.get(event_id=asked).outcome == CommandOutcome.TOO_OLD
    assert state_of(alarm) == State.UNACKNOWLEDGED


def test_what_was_said_just_now_is_done_after_a_restart_and_once(room: Room) -> None:
    alarm = room.alarm()
    said = told(room, alarm)
    assert room.bot.stop() == 0
    session = room.position()
    asked = room.anna.reply(said, "ack")
    room.bot.start()
    room.heard("acknowledged: ")
    until(lambda: MatrixCommand.objects.exclude(answered_at=None).exists(), 5, "it is answered")
    # The same events once more, as after a crash before the place among them was kept.
    assert room.bot.stop() == 0
    room.go_back_to(session)
    room.bot.start()
    room.say("!who")
    room.heard("is anna to Labsite")
    assert MatrixCommand.objects.filter(event_id=asked).count() == 1
    assert AlarmEvent.objects.filter(alarm=alarm, event="acknowledge").count() == 1
    assert len(room.of_bot("acknowledged: ")) == 1


def test_a_lost_login_is_made_anew_with_the_same_device(
    transactional_db: None, synapse: Synapse, tmp_path: Path
) -> None:
    """With people of its own: nio's clients never again trust a device that was gone for a while."""
    bot_id = synapse.make_user("robot")
    bot = Bot(synapse.url, tmp_path / "robot", user="robot")
    with Person(synapse.url, synapse.make_user("carl"), tmp_path / "carl") as carl, bot:
        room = make_room(carl, bot, bot_id)
        before = heartbeat()
        synapse.log_out(bot_id)
        alarm = room.alarm()
        room.notice(alarm)
        assert room.heard(alarm.text, within=40).is_encrypted
        assert (heartbeat()["device"], heartbeat()["fingerprint"]) == (
            before["device"],
            before["fingerprint"],
        )
        with Person(synapse.url, synapse.make_user("dora"), tmp_path / "dora") as dora:
            MatrixPerson.objects.create(matrix_id=dora.matrix_id, user=room.user)
            carl.invite(room.room_id, dora.matrix_id)
            dora.join(room.room_id)
            dora.say(room.room_id, "!who")
            room.heard("@dora:lab.test is carl to Labsite")


def test_too_many_commands_are_refused_once(room: Room) -> None:
    for _time in range(13):
        room.say("!alarms")
    room.heard("at most 10 commands a minute")
    until(lambda: len(room.of_bot("No alarm stands.")) == 10, 10, "the first ten are answered")
    assert len(room.of_bot("at most 10")) == 1


# ---- asking


def test_a_plot_is_an_encrypted_picture(room: Room) -> None:
    made = instrument("Oven 1")
    samples(made, "a", [20.0, 25.5, 31.25])
    room.say("!plot oven 1 a 1")
    said = room.heard("Oven 1 a, last 1 h: 20 to 31.25", within=30)
    assert said.content["msgtype"] == "m.image"
    assert said.is_encrypted
    picture = Image.open(BytesIO(room.anna.picture(said)))
    assert (picture.format, picture.size) == ("PNG", (900, 450))


def test_the_process_ends_by_itself_when_asked_to(room: Room) -> None:
    assert room.bot.stop() == 0


def test_it_stays_small(room: Room) -> None:
    told(room)
    assert psutil.Process(room.bot.pid).memory_info().rss < 110 * 2**20
