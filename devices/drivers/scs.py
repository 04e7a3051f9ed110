"""Seraphic Calibration Shell (SCS) 0.1: its state and history files, read beside it; no server is needed.

Each call of the shell rewrites both files in place, the history with that call's steps only. A step carries
its own time; the state that of its file.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from devices.drivers import json_values
from devices.drivers.base import Driver, Option, RuleTemplate
from devices.drivers.scs_values import CHANNELS, OF_STATE, OF_STEPS, Step, of_lone_state, of_state, steps
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Link
from devices.links.files import Contents, FilesLink, NoFile, Stamp
from devices.readings import Event, Quality, Reading

TRIES = 5  # to read a file that is being written
TRY_AGAIN = 0.05  # seconds
SETTLED = 2_000_000  # µs after which a file that looks the same is the same, and no other is about to follow


class File(NamedTuple):
    """What was found in a file."""

    stamp: Stamp
    content: Any


class Scs(Driver):
    """Seraphic Calibration Shell, by its files."""

    label = "Seraphic Calibration Shell (SCS)"
    schemes = ("file",)
    example = "file:///srv/scs"
    options = (
        Option("state_file", str, "scs_state.json", "The name of its --state-file, in the folder"),
        Option("history_file", str, "scs_history.json", "The name of its --history-file, in the folder"),
    )
    channels = CHANNELS
    alarms = (
        RuleTemplate(
            "Calibration degrading",
            "equals",
            "The last steps made it worse: look at the resonance; if it goes on, begin anew from benchmarks.",
            key="cri.is_degrading",
            value="true",
            priority="low",
            off_delay=60.0,
        ),
    )
    link: FilesLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self._files: dict[str, File] = {}  # as they were read last
        self._is_shown = False  # the newest step was told in this session
        self._state_told: Stamp | None = None
        self._lone_told: Stamp | None = None
        self._lost: set[str] = set()  # files of which it was told that they cannot be read

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        for name in ("state_file", "history_file"):
            if checked[name] in ("", ".", "..") or set(checked[name]) & set("/\0"):
                raise ConfigurationError(f"option {name}: {checked[name]!r} is no file name; name no folder")
        return checked

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return False

    async def read(self) -> list[Reading]:
        try:
            state = await self._file(self.settings["state_file"])
            history = await self._file(self.settings["history_file"])
        except LinkError:
            self._forget()
            raise
        if not isinstance(state, File) and not isinstance(history, File):
            self._forget()
            hint = ": has `init` been called there?" if isinstance(state, NoFile) else ""
            raise ReplyError(f"{state}{hint}")
        if isinstance(history, File):
            self._lost.discard("history")
            readings = self._of_history(history)
        else:  # none has been written before the first step
            readings = [] if isinstance(history, NoFile) else self._lose("history", OF_STEPS)
            self._is_shown = False
        if isinstance(state, File):
            self._lost.discard("state")
            return readings + self._of_state(state, history)
        self._state_told = None
        return readings + self._lose("state", OF_STATE)

    # ---- the files

    async def _file(self, name: str) -> File | ReplyError:
        """What is in it; or why it cannot be had, once it has been tried often enough."""
        for _ in range(TRIES):
            try:
                return await self._read(name)
            except NoFile as error:
                return error
            except ReplyError as error:  # it is just being written
                trouble = error
                await asyncio.sleep(TRY_AGAIN)
        return trouble

    async def _read(self, name: str) -> File:
        before = self._files.get(name)
        contents: Contents | None = await self.link.read(name, before.stamp if before else None)
        if contents is None and before is not None:
            return before
        assert contents is not None  # noqa: S101 - only a file that was read before can be unchanged
        found = File(contents.stamp, json_values.decoded(contents.text))
        if _is_settled(contents.stamp):
            self._files[name] = found
        return found

    def _forget(self) -> None:
        """All of it is told again once it can be read."""
        self._is_shown, self._state_told, self._lone_told = False, None, None
        self._lost.clear()

    def _lose(self, file: str, keys: tuple[str, ...]) -> list[Reading]:
        """Tell once that what is in a file cannot be known."""
        if file in self._lost:
            return []
        self._lost.add(file)
        return [Reading(key, None, Quality.BAD) for key in keys]

    # ---- what is in them

    def _of_history(self, history: File) -> list[Reading]:
        """Steps that have not been told; their own stamps make one that is told again the same."""
        found = steps(history.content)
        known: set[tuple[int, int]] = self.memory.get("steps", set())
        new = [step for step in found if (step.time, step.number) not in known]
        if found:
            self._tell_gap(new)
            self.memory["steps"] = {(step.time, step.number) for step in found}
            self.memory["last"] = found[-1].number
        if not self._is_shown and found and not new:
            new = found[-1:]
        self._is_shown = self._is_shown or bool(found)
        return [reading for step in new for reading in step.readings()]

    def _tell_gap(self, new: list[Step]) -> None:
        """Whether steps came and went between two looks."""
        last: int | None = self.memory.get("last")
        if last is None or not new:
            return
        first = new[0]
        if first.number > last + 1:
            fields = {"from": last + 1, "to": first.number - 1}
            text = f"steps {last + 1} to {first.number - 1} were overwritten before they were read"
            self.tell([Event("steps_missed", text, fields, first.time)])
        elif first.number <= last:
            self.tell([Event("restart", "the calibration was begun anew", {}, first.time)])

    def _of_state(self, state: File, history: File | ReplyError) -> list[Reading]:
        """The field, and what no step tells: how it stands after `init`."""
        readings = []
        if state.stamp != self._state_told:
            readings = of_state(state.content, state.stamp.changed)
            self._state_told = state.stamp
        if state.stamp == self._lone_told or not _is_settled(state.stamp):
            return readings  # or its step's history is about to be written
        self._lone_told = state.stamp
        newest = steps(history.content)[-1:] if isinstance(history, File) else []
        if not newest or newest[0].number != _count(state.content):
            readings += of_lone_state(state.content, state.stamp.changed)
        return readings


def _is_settled(stamp: Stamp) -> bool:
    return abs(time.time() * 1e6 - stamp.changed) > SETTLED


def _count(state: Any) -> int | None:
    return json_values.whole(state.get("step_count")) if isinstance(state, dict) else None
