"""Kills its own process, as kill -9 does, at a named moment of what the alarms do.

A process of the laboratory runs it before its own first line: `sitecustomize.py`, which `Killer` writes, is
on its PYTHONPATH. A moment is `module:function:when`, with `when` before, after, or made (after, if something
came of it). Which one is next stands in a file, so that it can be chosen while the process runs; several,
divided by spaces, are to come one after the other, and the last kills.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "KILLING"  # in the environment: where the moment is written
WATCHED = (
    "alerts.changes:Changes.move",
    "alerts.changes:_log",
    "alerts.notices.delivery:begin",
    "alerts.notices.delivery:release",
    "alerts.notices.outbox:mark",
    "alerts.notices.reminders:schedule",
    "alerts.notices.routing:Plan.write",
    "alerts.notices.routing:dispatch",
    "alerts.judging.timers:apply",
    "alerts.judging.timers:run_out",
    "alerts.judging.timers:settle",
    "alerts.notices.transports.webhook:send",
    "alerts.notices.words:message_of",
    "labsite.pipeline:ingest",
)


class Killer:
    """The side of the test: `environment` of the process to be killed; `arm` chooses the moment."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._moment = folder / "moment"
        (folder / "sitecustomize.py").write_text(
            "from tests.faults import killing\n\nkilling.install()\n", encoding="utf-8"
        )
        self.environment = {NAME: str(self._moment), "PYTHONPATH": f"{folder}:{Path(__file__).parents[2]}"}

    def arm(self, *moments: str) -> None:
        unknown = {moment.rpartition(":")[0] for moment in moments}.difference(WATCHED)
        assert not unknown, f"nobody watches {unknown}"
        _write(self._moment, moments)

    def disarm(self) -> None:
        self._moment.unlink(missing_ok=True)

    @property
    def is_armed(self) -> bool:
        return self._moment.exists()


def install() -> None:
    """Watch what is to be watched of each module, as soon as that is loaded."""
    if NAME in os.environ:
        sys.meta_path.insert(0, _Finder(Path(os.environ[NAME])))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, path: Path) -> None:
        self._path = path

    def find_spec(
        self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        functions = [each.partition(":")[2] for each in WATCHED if each.partition(":")[0] == name]
        spec = PathFinder.find_spec(name, path) if functions else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, functions, self._path)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, functions: Sequence[str], path: Path) -> None:
        self._loader, self._functions, self._path = loader, functions, path

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        for words in self._functions:
            owner, name = module, words
            if "." in words:
                of, _, name = words.partition(".")
                owner = getattr(module, of)
            setattr(owner, name, _watched(f"{module.__name__}:{words}", getattr(owner, name), self._path))


def _watched(name: str, function: Callable[..., Any], path: Path) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*values: Any, **named: Any) -> Any:
        _reach(f"{name}:before", path)
        result = function(*values, **named)
        _reach(f"{name}:after", path)
        if result:
            _reach(f"{name}:made", path)
        return result

    return call


def _reach(moment: str, path: Path) -> None:
    """Here we are: the end, if this is the last of the moments to come."""
    try:
        first, *others = path.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return
    if first != moment:
        return
    if others:
        _write(path, others)
        return
    path.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def _write(path: Path, moments: Sequence[str]) -> None:
    new = path.with_suffix(".new")
    new.write_text(" ".join(moments), encoding="ascii")
    new.replace(path)
