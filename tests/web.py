"""The real web process on the test database, and a page's live stream as it sees it."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from devices.models import Channel, Latest
from tests.servers import Process, dying_with_tests
from tests.waiting import until


class Web(Process):
    """uvicorn as the product starts it, ready when `start` returns."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "uvicorn", "labsite.asgi:application", "--port", str(self.port)]
        environment = os.environ | {
            "LABSITE_DATABASE_URL": database_url(),
            "LABSITE_DATA": str(folder),
            "LABSITE_SECRET_KEY": settings.SECRET_KEY,
        }
        super().__init__(dying_with_tests(command), folder / "web.log", environment)

    def start(self) -> Self:
        super().start()
        until(self.answers, 20, f"the web process answers: {self.output[-2000:]}")
        return self

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/login/").status_code == 200
        except httpx.TransportError:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def database_url() -> str:
    """The test database, as an address for another process."""
    known = connection.settings_dict
    person = quote(known["USER"]) + (f":{quote(known['PASSWORD'])}" if known["PASSWORD"] else "")
    port = f":{known['PORT']}" if known["PORT"] else ""
    host = urlencode({"host": known["HOST"]}, safe="/")
    return f"postgresql://{person}@localhost{port}/{known['NAME']}?{host}"


def cookies(user: User) -> dict[str, str]:
    """Those of a browser in which the person is signed in."""
    browser = Client()
    browser.force_login(user)
    return {settings.SESSION_COOKIE_NAME: browser.cookies[settings.SESSION_COOKIE_NAME].value}


def store(channel: Channel, value: float | None, **fields: Any) -> None:
    """What ingest does for a page: a channel's latest reading. Nobody is told."""
    now = timezone.now()
    reading = {"time": now, "seen_at": now, "stored_at": now, "value": value, "quality": 0, "text": None}
    Latest.objects.update_or_create(channel=channel, defaults=reading | fields)


def notify() -> None:
    """Say that there is something new, as ingest does in its transaction."""
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY labsite_live, '1'")


class Stream:
    """The events of one open page."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.lines = lines

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = ""
        for line in self.lines:
            name, _colon, content = line.partition(": ")
            if name == "event":
                kind = content
            elif name == "data":
                yield kind, json.loads(content)

    def first(self, wanted: Callable[[str, dict[str, Any]], object]) -> dict[str, Any]:
        """The first event for which `wanted` is true; httpx ends the wait."""
        for kind, content in self:
            if wanted(kind, content):
                return content
        raise AssertionError("the stream ended")

    def value(self, channel: Channel, value: float | None) -> list[Any]:
        """Wait until the channel says this; the reading as the page gets it."""
        content = self.first(lambda _kind, content: reading_of(content, channel, value))
        return reading_of(content, channel, value)


def reading_of(content: dict[str, Any], channel: Channel, value: float | None) -> list[Any]:
    found = [each for each in content.get("latest", []) if each[0] == channel.pk and each[2] == value]
    return found[0] if found else []


@contextmanager
def stream(web: Web, user: User, query: str = "", within: float = 8.0) -> Iterator[Stream]:
    """A page is open; a wait of more than `within` seconds for the next event is an error."""
    address = f"{web.url}/live/{query}"
    with httpx.stream("GET", address, cookies=cookies(user), timeout=within) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "text/event-stream"
        yield Stream(reply.iter_lines())
