"""Simulated instruments that are nothing but files, such as those a calibration program leaves."""

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Self, cast

from devices.simulators.base import FileSimulator, Simulator
from devices.simulators.client import Record


class FilesDoor:
    """A folder that its simulator keeps writing into. While it is switched off, the folder is not there."""

    def __init__(self, simulator: FileSimulator, folder: Path, record: Record | None) -> None:
        self.simulator: Simulator = simulator
        self.folder = folder
        self.record = record
        self._writer = simulator
        self._away = folder.with_name(f"{folder.name}.away")
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.look()

    @classmethod
    def at(cls, simulator: Simulator, where: str, place: int, record: Record | None) -> Self:
        """`where`: the folder; with several instruments, those after the first have a number behind it."""
        temporary = None if where else tempfile.TemporaryDirectory(prefix="labsite-simulated-")
        folder = Path(temporary.name if temporary else where).absolute() / ("" if where else simulator.driver)
        numbered = folder.with_name(f"{folder.name}-{place}") if place else folder
        door = cls(cast("FileSimulator", simulator), numbered, record)
        door._temporary = temporary
        return door

    @property
    def address(self) -> str:
        return self._writer.address_of(self.folder)

    def look(self) -> None:
        if not self.simulator.can_be_reached():
            self._stop()
            with contextlib.suppress(FileNotFoundError):
                self.folder.rename(self._away)
        elif self._timer is None:
            with contextlib.suppress(FileNotFoundError):
                self._away.rename(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write()

    async def close(self) -> None:
        self._stop()
        if self._temporary:
            self._temporary.cleanup()

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _write(self) -> None:
        self._stop()  # one clock, also if it is written out of turn
        self._timer = self._loop.call_later(self._writer.every, self._write)
        for reading in self._writer.write(self.folder):
            if self.record:
                self.record(self.simulator.number, reading)
