"""One broker for most tests of the bridge, of which each begins with an empty one."""

from collections.abc import Iterator

import pytest

from tests.labsite.mqtt.kit import Ear, Mosquitto, retained


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mqtt")).start() as broker:
        yield broker


@pytest.fixture
def ear(mosquitto: Mosquitto) -> Iterator[Ear]:
    """Somebody who listens, and hears nothing of other tests."""
    with Ear(mosquitto.port) as ear:
        for topic, payload in retained(mosquitto.port).items():
            if payload:
                ear.say(topic, "", retain=True)
        ear.say("test/end", "emptied")
        ear.until("test/end", "emptied")
        ear.heard.clear()
        yield ear
