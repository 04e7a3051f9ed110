"""One homeserver for all tests of the bot; each has a room of its own, and a bot that is started for it."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.utils import timezone
from psycopg.sql import SQL, Identifier

from alerts.changes import Changes
from alerts.lifecycle import Event
from alerts.models import (
    Alarm,
    AlarmEvent,
    Contact,
    MatrixPerson,
    MatrixRoom,
    Notice,
    NoticeKind,
    NoticeLine,
    Source,
)
from alerts.notices import delivery
from devices.models import Edge, Heartbeat, Instrument
from telemetry import partitions
from tests.alerts import factories
from tests.alerts.matrix.person import Person, Said
from tests.factories import person as user
from tests.servers import Process, dying_with_tests
from tests.synapse import Synapse
from tests.telemetry import factories as telemetry
from tests.waiting import until

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    with Synapse(tmp_path_factory.mktemp("matrix") / "synapse").start() as synapse:
        yield synapse


@pytest.fixture(scope="session")
def bot_id(synapse: Synapse) -> str:
    return synapse.make_user("labsite")


@pytest.fixture(scope="session")
def bot_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of all bots: one login, one device."""
    return tmp_path_factory.mktemp("bot")


@pytest.fixture(scope="session")
def anna(synapse: Synapse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Who works in the lab."""
    matrix_id = synapse.make_user("anna")
    with Person(synapse.url, matrix_id, tmp_path_factory.mktemp("anna") / "store") as anna:
        yield anna


@pytest.fixture(scope="session")
def eve(synapse: Synapse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """Whom Labsite does not know."""
    with Person(synapse.url, synapse.make_user("eve"), tmp_path_factory.mktemp("eve") / "store") as eve:
        yield eve


class Bot(Process):
    """`manage.py matrixbot` on the test's database; connected when `start` returns."""

    def __init__(self, url: str, folder: Path, user: str = "labsite", **more: str) -> None:
        settings = {
            "LABSITE_MATRIX_HOMESERVER": url,
            "LABSITE_MATRIX_USER": user,
            "LABSITE_MATRIX_PASSWORD": user,
            "LABSITE_DATA": str(folder),
            "LABSITE_DATABASE_URL": database_url(),
            "LABSITE_WITHOUT_DOORS": "1",
            "PYTHONWARNINGS": "default",
            **more,
        }
        self.folder = folder
        command = dying_with_tests([sys.executable, str(ROOT / "manage.py"), "matrixbot"])
        super().__init__(command, folder / "bot.log", {**os.environ, **settings})

    def start(self, *, connected: bool = True) -> "Bot":
        Heartbeat.objects.filter(process="matrix").delete()
        super().start()
        if connected:
            until(self.is_connected, 20, "the bot is connected", every=0.05)
        return self

    def is_connected(self) -> bool:
        assert self.running is not None, "not started"
        assert self.running.poll() is None, f"it ended: {self.output[-3000:]}"
        return Heartbeat.objects.filter(process="matrix", fields__state="connected").exists()

    def restart(self) -> "Bot":
        assert self.stop() == 0, self.output[-3000:]
        return self.start()


@dataclass
class Room:
    """A room with the bot in it, and a contact that stands for it."""

    room_id: str
    contact: Contact
    bot: Bot
    bot_id: str
    anna: Person
    user: User

    def of_bot(self, words: str = "") -> list[Said]:
        return self.anna.of(self.bot_id, self.room_id, words)

    def heard(self, words: str = "", count: int = 1, within: float = 15.0) -> Said:
        """What the bot says, once it has said it so often; the last of it."""

        def enough() -> list[Said]:
            found = self.of_bot(words)
            return found if len(found) >= count else []

        return until(enough, within, f"the bot says {words!r}: {self.of_bot()}\n{self.bot.output[-3000:]}")[
            -1
        ]

    def say(self, body: str) -> str:
        return self.anna.say(self.room_id, body)

    def invite(self, person: Person) -> None:
        """Somebody else comes in; anna and the bot have seen it when this returns."""
        self.anna.invite(self.room_id, person.matrix_id)
        person.join(self.room_id)
        until(lambda: self.anna.has_joined(self.room_id, person.matrix_id), 10, "the person is there")
        count = len(self.of_bot("Commands:"))
        self.say("!help")
        self.heard("Commands:", count + 1)

    def position(self) -> str:
        """Which events the bot has worked off."""
        return (self.bot.folder / "matrix" / "session.json").read_text()

    def go_back_to(self, position: str) -> None:
        (self.bot.folder / "matrix" / "session.json").write_text(position)

    @staticmethod
    def seconds(from_now: float) -> float:
        """A time as the factories take it, who have a NOW of their own."""
        return (timezone.now() + timedelta(seconds=from_now) - factories.NOW).total_seconds()

    def raised_again(self, alarm: Alarm) -> Alarm:
        """The same alarm after its condition has come back."""
        current = Alarm.objects.select_related("rule").get(pk=alarm.pk)
        current.active = current.held = True
        changes = Changes(timezone.now(), Source.INGEST)
        assert changes.move(current, Event.RAISE, timezone.now())
        changes.save()
        return current

    def alarm(self, name: str = "bath", **fields: Any) -> Alarm:
        """A standing alarm."""
        return factories.alarm(instrument(name).channels.get(key="a"), at=self.seconds(-30), **fields)

    def notice(self, *alarms: Alarm, kind: str = NoticeKind.ALARM) -> Notice:
        """A notice of the last change of these, due now."""
        now = timezone.now()
        notice = Notice.objects.create(contact=self.contact, kind=kind, created_at=now, due_at=now)
        for alarm in alarms:
            event = AlarmEvent.objects.filter(alarm=alarm).latest("id")
            NoticeLine.objects.create(notice=notice, event=event, alarm=alarm)
        delivery.notify()
        return notice


def instrument(name: str) -> Instrument:
    on = Edge.objects.filter(name="bench").first() or telemetry.edge()
    return Instrument.objects.filter(name=name).first() or telemetry.instrument(on, name)


def database_url() -> str:
    """That of the test's database, for a process of its own."""
    words = connection.settings_dict
    user, password = quote(words["USER"]), quote(words["PASSWORD"])
    return (
        f"postgresql://{user}:{password}@/{words['NAME']}?host={quote(words['HOST'])}"
        if words["HOST"].startswith("/")
        else f"postgresql://{user}:{password}@{words['HOST']}:{words['PORT']}/{words['NAME']}"
    )


@contextmanager
def held_table(name: str) -> Iterator[None]:
    """Nobody can write into this table meanwhile."""
    with psycopg.connect(telemetry.url()) as other:
        other.execute(SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(Identifier(name)))
        yield


def samples(of: Instrument, key: str, values: Sequence[float]) -> None:
    """Stored readings of the last minutes, one a minute."""
    channel = of.channels.get(key=key)
    first = timezone.now() - timedelta(minutes=len(values))
    partitions.make_ahead(timezone.now())
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO sample (time, value, channel_id, quality) VALUES (%s, %s, %s, 0)",
            [(first + timedelta(minutes=place), value, channel.pk) for place, value in enumerate(values)],
        )


@pytest.fixture
def bot(transactional_db: None, synapse: Synapse, bot_id: str, bot_folder: Path) -> Iterator[Bot]:
    """Not started yet."""
    with Bot(synapse.url, bot_folder) as bot:
        yield bot


@pytest.fixture
def room(bot: Bot, bot_id: str, anna: Person) -> Room:
    """An encrypted room of anna's; the bot runs, and has joined."""
    return make_room(anna, bot, bot_id)


def make_room(person: Person, bot: Bot, bot_id: str) -> Room:
    """An encrypted room of somebody who may acknowledge and shelve, with a bot that is started for it."""
    room_id = person.make_room(bot_id)
    MatrixRoom.objects.create(address=room_id)
    contact = factories.contact("room", "matrix", address=room_id)
    someone = user(person.name, staff=False)
    names = ("acknowledge_alarm", "shelve_alarm")
    someone.user_permissions.set(Permission.objects.filter(codename__in=names))
    MatrixPerson.objects.create(matrix_id=person.matrix_id, user=someone)
    bot.start()
    until(lambda: person.has_joined(room_id, bot_id), 15, "the bot has joined", every=0.05)
    until(lambda: MatrixRoom.objects.get(address=room_id).room_id, 10, "and has noted it")
    return Room(room_id, contact, bot, bot_id, person, someone)


__all__ = ["Bot", "Room", "anna", "bot", "bot_folder", "bot_id", "eve", "room", "synapse"]
