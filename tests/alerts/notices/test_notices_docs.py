"""docs/notices.md: what it says of webhooks is so."""

import json
import re
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from alerts.models import Contact, NoticeKind, Priority, Route
from alerts.notices.transports import webhook
from alerts.notices.words import FEW, Message
from devices.services import OPERATOR
from labsite import lab_file
from tests.alerts.notices.kit import Receiver
from tests.alerts.notices.test_transports import MESSAGE

DOCUMENT = (Path(__file__).parents[3] / "docs" / "notices.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


@pytest.mark.django_db
def test_the_example_of_a_lab_file_is_taken() -> None:
    lab_file.apply(lab_file.parse(block("toml"), "lab.toml"), by=OPERATOR)
    route = Route.objects.get()
    assert (route.name, route.least_priority, route.repeat) == ("Nights", Priority.HIGH, 900)
    assert [step.contact.name for step in route.steps.all()] == ["Lab room", "Anna"]


def verifier() -> Any:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    return names["is_labsites"]


def test_the_example_takes_what_we_send_and_nothing_else(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABSITE_SECRET_HOOK", "whsec")
    webhook.send(Contact(name="hook", address=receiver.url, secret="HOOK"), MESSAGE)
    (post,) = receiver.posts
    header, is_labsites = post.headers["X-Labsite-Signature"], verifier()
    assert is_labsites(header, post.body, "whsec")
    assert not is_labsites(header, post.body, "another")
    assert not is_labsites(header, post.body + b" ", "whsec")
    old = webhook.signature("whsec", post.body, int(time.time()) - 301)
    assert not is_labsites(old, post.body, "whsec")


def test_the_example_is_short() -> None:
    assert len([line for line in block("python").splitlines() if line]) <= 10


def test_the_documented_json_is_what_is_sent() -> None:
    shown, sent = json.loads(block("json")), json.loads(webhook.encode(MESSAGE))
    assert shown.keys() == sent.keys()
    assert shown["alarms"] == sent["alarms"]
    assert {field.name for field in fields(Message)} - sent.keys() == {"html"}


def test_every_kind_is_named() -> None:
    (row,) = [line for line in DOCUMENT.splitlines() if line.startswith("| `kind`")]
    assert set(re.findall(r"`(\w+)`", row)) - {"kind"} == set(NoticeKind.values)
    assert FEW == 8
