"""Servers that tests of a module share; each test has a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.telemetry.sinks.servers import Influx, Victoria


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with Influx(_folder(tmp_path_factory, "influx")).start() as server:
        yield server


@pytest.fixture(scope="module")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victoria]:
    with Victoria(_folder(tmp_path_factory, "victoria")).start() as server:
        yield server


def _folder(factory: pytest.TempPathFactory, name: str) -> Path:
    return factory.mktemp(name)
