"""What several tests of devices poll, and what polls it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.devices.edge.world import Line, World


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    line = Line()
    await line.start()
    yield line
    line.stop()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    if not world.running.done():
        await world.stop()
