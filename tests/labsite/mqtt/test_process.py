"""The bridge as a process: what it says when it cannot run, and where it runs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from labsite.mqtt.record import Record
from labsite.mqtt.settings import NotConfigured, told
from labsite.onebox import programs
from tests.onebox import ROOT, environment


def test_without_a_broker_it_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, "manage.py", "mqttbridge"]
    given = environment(LABSITE_DATA=str(tmp_path), LABSITE_WITHOUT_DOORS="1")
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=given, cwd=ROOT)
    assert ended.returncode == 1
    assert "LABSITE_MQTT_URL is not set; see docs/mqtt.md" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_it_is_one_of_the_centres_programs_only_where_it_is_wanted() -> None:
    without = [program.name for program in programs.centre("127.0.0.1", 8000)]
    with_it = [program.name for program in programs.centre("127.0.0.1", 8000, mqtt=True)]
    assert [*without, "mqttbridge"] == with_it


@pytest.fixture
def configured(settings: Settings) -> Settings:
    settings.MQTT_URL = "mqtt://broker.lab"
    return settings


def test_little_is_needed(configured: Settings) -> None:
    found = told()
    assert (found.address.host, found.address.port) == ("broker.lab", 1883)
    assert (found.prefix, found.discovery, found.version) == ("labsite", "homeassistant", "5")
    assert len(found.client_id) == 23
    configured.MQTT_URL = "mqtts://broker.lab"
    assert told().address.port == 8883


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"MQTT_URL": "broker.lab:1883"}, "write it like mqtt://host:1883"),
        ({"MQTT_URL": "http://broker.lab"}, "write it like mqtt://host:1883"),
        ({"MQTT_URL": "mqtt://broker.lab/topic"}, "nothing belongs behind the port"),
        ({"MQTT_URL": "mqtt://me:word@broker.lab"}, "set LABSITE_MQTT_USER and LABSITE_MQTT_PASSWORD"),
        ({"MQTT_PASSWORD": "word"}, "no LABSITE_MQTT_USER"),
        ({"MQTT_PREFIX": "lab/#"}, "LABSITE_MQTT_PREFIX is 'lab/#'"),
        ({"MQTT_DISCOVERY_PREFIX": "$ha"}, "LABSITE_MQTT_DISCOVERY_PREFIX is"),
        ({"MQTT_CA": "/nowhere.pem"}, "LABSITE_MQTT_CA: cannot use /nowhere.pem: No such file"),
        ({"MQTT_CA": "/dev/null"}, "LABSITE_MQTT_CA: cannot use /dev/null"),
    ],
)
def test_what_is_wrong_is_named(configured: Settings, given: dict[str, Any], words: str) -> None:
    for name, value in given.items():
        setattr(configured, name, value)
    with pytest.raises(NotConfigured) as caught:
        told()
    assert words in str(caught.value)
    assert "word@" not in str(caught.value)


def test_the_password_is_not_shown(configured: Settings) -> None:
    configured.MQTT_USER, configured.MQTT_PASSWORD = "me", "secret-word"
    assert told().password == "secret-word"
    assert "secret-word" not in repr(told())


# ---- the record


def test_the_record_outlives_the_bridge_and_knows_brokers_apart(tmp_path: Path) -> None:
    with Record(tmp_path, "mqtt://one") as record:
        record.note(["a", "b"])
        assert "a" in (tmp_path / "topics.json").read_text()  # before anything is told
        record.strike("a")
    with Record(tmp_path, "mqtt://other") as record:
        assert record.topics == set()
        record.note(["c"])
    with Record(tmp_path, "mqtt://one") as record:
        assert record.topics == {"b"}


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_record_that_is_torn_is_begun_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "topics.json").write_text(content)
    with Record(tmp_path, "mqtt://one") as record:
        assert record.topics == set()
        record.note(["a"])


def test_its_folder_is_its_owners_alone(tmp_path: Path) -> None:
    with Record(tmp_path / "mqtt", "mqtt://one"):
        assert (tmp_path / "mqtt").stat().st_mode & 0o077 == 0
