"""The dead man's switch, against a real web server."""

import logging
import threading
from typing import Any

import pytest

from alerts.notices import deadman
from alerts.notices.deadman import Switch
from tests.alerts.factories import NOW
from tests.alerts.notices.kit import Receiver
from tests.telemetry.factories import moment
from tests.waiting import until
from tests.web import free_port


def ended(switch: Switch) -> None:
    assert switch.asking is not None
    switch.asking.join(10)


def test_it_is_asked_once_a_minute_while_all_is_well(receiver: Receiver) -> None:
    switch = Switch(receiver.url)
    asked = []
    for at, healthy in [(0, True), (30, True), (59, True), (60, True), (130, False), (200, True)]:
        asked.append(switch.ping(moment(at), healthy=healthy))
        ended(switch)
    assert asked == [True, False, False, True, False, True]
    assert len(receiver.posts) == 3


def test_a_clock_put_back_does_not_silence_it(receiver: Receiver) -> None:
    switch = Switch(receiver.url)
    assert switch.ping(moment(0), healthy=True)
    ended(switch)
    assert switch.ping(moment(-86_400), healthy=True)
    ended(switch)


def test_without_an_address_nothing_is_asked() -> None:
    assert not Switch("").ping(NOW, healthy=True)


def test_a_service_that_hangs_holds_nobody_up(receiver: Receiver) -> None:
    receiver.stall = threading.Event()
    switch = Switch(receiver.url)
    assert switch.ping(moment(0), healthy=True)
    until(lambda: receiver.posts)
    assert not switch.ping(moment(60), healthy=True)
    receiver.stall.set()
    ended(switch)
    assert switch.ping(moment(61), healthy=True)
    ended(switch)


def test_trouble_is_logged_once_without_the_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    switch = Switch(f"http://127.0.0.1:{free_port()}/T0K3N")
    for at in (0, 60, 120):
        assert switch.ping(moment(at), healthy=True)
        ended(switch)
    lines = [record for record in caplog.records if record.name == "alerts.notices.deadman"]
    assert [record.getMessage() for record in lines] == [
        "the dead man's switch cannot be reached: ConnectionError"
    ]


def test_the_address_is_that_of_the_settings(receiver: Receiver, settings: Any) -> None:
    settings.DEADMAN_URL = receiver.url
    assert deadman.ping(NOW, healthy=True)
    assert not deadman.ping(NOW, healthy=True)
    assert deadman._switch is not None
    ended(deadman._switch)
    assert len(receiver.posts) == 1
