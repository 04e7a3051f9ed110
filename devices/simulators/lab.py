"""`python -m devices.simulators lab`: the demo lab, one of each simulated instrument, in one process.

Whoever wants to see what happens when an instrument is unplugged makes a file `NAME.off` in the lab's folder,
and removes it to plug the instrument in again: `touch var/demo/ups.off`, `rm var/demo/ups.off`.
"""

import argparse
import asyncio
import contextlib
import gc
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from devices import simulators
from devices.simulators import doors
from devices.simulators.base import BadSetting
from devices.simulators.client import Record
from devices.simulators.doors import AnyDoor
from devices.simulators.faults import Faults
from devices.simulators.ledger import Ledger
from devices.simulators.serving import announce, until_told
from devices.simulators.tcp import host_and_port

LOOK_EVERY = 0.25  # seconds between looks at what is unplugged
TRY_AGAIN = 2.0  # seconds, where a port is taken


@dataclass(frozen=True)
class Stand:
    """An instrument of the demo lab. `place` is that of its port, counted from the lab's first, for good:
    addresses must outlive a start, and a later version."""

    name: str
    driver: str
    place: int
    wire: str  # its address: {host}, {port} and {path} stand for what the lab is told
    settings: Mapping[str, str] = field(default_factory=dict)
    is_usual: bool = True

    @property
    def is_path(self) -> bool:
        """Whether it is found in the lab's folder, and not at a port."""
        return "{path}" in self.wire

    def address(self, host: str, port: int, folder: Path) -> str:
        """Where it is found in a lab whose first port and folder are these."""
        path = quote(str(folder / self.name))
        return self.wire.format(host=host, port=port + self.place, path=path)


STANDS = (
    Stand("thermostat-1", "thermostat", 0, "tcp://{host}:{port}"),
    Stand("thermostat-2", "thermostat", 1, "tcp://{host}:{port}"),
    Stand("thermostat-3", "thermostat", 2, "tcp://{host}:{port}", is_usual=False),  # of earlier demo labs
    Stand("qpcr", "quantstudio", 3, "tcp://{host}:{port}"),
    Stand("sensor", "bme280", 4, "i2c+tcp://{host}:{port}/0x76"),
    Stand("calibration", "metatron", 5, "http://{host}:{port}"),
    # Its mains do not fail by themselves: in a demo lab that nobody touches no alarm stands.
    Stand("ups", "must_ep20", 6, "serial://{path}", {"outages": "none"}),
    Stand("shell", "scs", 7, "file://{path}"),
)
PORTS = 8


def known() -> list[Stand]:
    """The stands whose simulators there are."""
    return [stand for stand in STANDS if stand.driver in simulators.SIMULATORS]


def usual() -> list[str]:
    """What stands in a new demo lab."""
    return [stand.name for stand in known() if stand.is_usual]


def main(arguments: Sequence[str]) -> None:
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        stands = _chosen(chosen.names or usual())
        host, port = host_and_port(chosen.listen)
        with _folder(chosen.folder) as folder:
            lab = Lab(stands, host, port, folder, chosen.seed)
            asyncio.run(lab.serve(chosen.ledger))
    except BadSetting as error:
        parser.error(str(error))
    except OSError as error:
        sys.exit(f"cannot use {error.filename or chosen.folder}: {error.strerror or error}")


def _chosen(names: Sequence[str]) -> list[Stand]:
    stands = {stand.name: stand for stand in known()}
    if unknown := sorted(set(names) - set(stands)):
        raise BadSetting(f"no {', '.join(unknown)} in the demo lab; there are {', '.join(stands)}")
    return [stand for name, stand in stands.items() if name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devices.simulators lab",
        description="The demo lab in one process. A file NAME.off in its folder unplugs an instrument.",
    )
    names = ", ".join(stand.name for stand in known())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {names}")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port of the first; 0: any free ports")
    parser.add_argument("--folder", type=Path, help="for the serial port, files, and what is unplugged")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same behaviour (0)")
    parser.add_argument("--ledger", type=Path, help="SQLite file that notes every reply sent")
    return parser


@contextlib.contextmanager
def _folder(path: Path | None) -> Iterator[Path]:
    if path is None:
        with tempfile.TemporaryDirectory(prefix="labsite-demo-") as name:
            yield Path(name)
    else:
        path.mkdir(parents=True, exist_ok=True)
        yield path.absolute()


class Lab:
    """What stands in the lab. An instrument whose door cannot be opened now is tried again and again."""

    def __init__(self, stands: Sequence[Stand], host: str, port: int, folder: Path, seed: int) -> None:
        self.folder = folder
        self.doors: dict[str, AnyDoor] = {}
        self._host, self._port = host, port
        self._said: dict[str, str] = {}  # why a door cannot be opened, as told last
        self._simulators = {
            stand.name: simulators.load(stand.driver)(
                stand.place, seed, stand.settings, Faults((), seed), time.monotonic
            )
            for stand in stands
        }
        self._stands = {stand.name: stand for stand in stands}

    async def serve(self, ledger_path: Path | None = None) -> None:
        """Until the process is told to stop."""
        stop = until_told()
        ledger = Ledger(ledger_path) if ledger_path else None
        try:
            tried = 0.0
            while not stop.is_set():
                if time.monotonic() - tried > TRY_AGAIN:
                    self.open(ledger)
                    tried = time.monotonic()
                    gc.freeze()
                self.look()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_EVERY)
        finally:
            for door in self.doors.values():
                await door.close()
            if ledger:
                ledger.close()

    def open(self, ledger: Ledger | None) -> None:
        """Open the doors that are not open yet, as far as possible."""
        record: Record | None = ledger.add if ledger else None
        for name, simulator in self._simulators.items():
            if name in self.doors:
                continue
            simulator.is_plugged = self._is_plugged(name)
            try:
                door = doors.opened(simulator, self._where(name), 0, record)
            except OSError as error:
                self._tell(name, error.strerror or str(error))
                continue
            self.doors[name] = door
            if ledger:
                ledger.enter(simulator.number, door.address, simulator.driver)
            announce(door)
        sys.stdout.flush()

    def look(self) -> None:
        """Plug and unplug, as the files in the folder say."""
        for name, door in self.doors.items():
            door.simulator.is_plugged = self._is_plugged(name)
            door.look()

    def _is_plugged(self, name: str) -> bool:
        return not (self.folder / f"{name}.off").exists()

    def _where(self, name: str) -> str:
        if self._stands[name].is_path:
            return str(self.folder / name)
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port and self._port + self._stands[name].place}"

    def _tell(self, name: str, reason: str) -> None:
        if self._said.get(name) != reason:
            self._said[name] = reason
            sys.stderr.write(f"{name} cannot be served at {self._where(name)}: {reason}; trying again\n")
            sys.stderr.flush()
