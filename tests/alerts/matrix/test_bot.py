"""The bot on a real homeserver, in an encrypted room, with a person who uses another client."""

from tests.alerts.matrix.lab import Room


def test_an_alarm_arrives_encrypted_and_readable(room: Room) -> None:
    alarm = room.alarm()
    room.notice(alarm)
    said = room.heard(alarm.text)
    assert said.is_encrypted
    assert said.content["msgtype"] == "m.text"
    assert not room.anna.unread
