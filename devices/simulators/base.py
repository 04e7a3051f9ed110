"""What a simulated instrument is, whatever its wire: it hears bytes and answers through its client."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Protocol

from devices.simulators.faults import Faults, torn_line


class BadSetting(ValueError):
    """A setting of a simulator cannot be used; the message is for the person who wrote it."""


class Client(Protocol):
    """The other side of one connection, as an instrument sees it."""

    def answer(self, chunk: bytes, *, reading: bool | str = False) -> None:
        """Send an answer, through the faults; `reading`: it carries values and belongs in the ledger, as it
        is (True) or, where the wire is binary or many answers make one reading, as this text."""

    def close(self) -> None:
        """Close the connection once all is sent."""

    def reset(self) -> None:
        """Break the connection off."""


class Session(Protocol):
    """One client's conversation with an instrument; begins when it is connected."""

    def hear(self, chunk: bytes) -> None:
        """Bytes came; they need not be whole lines."""

    def end(self) -> None:
        """The client is gone."""


class Simulator:
    """One simulated instrument. `clock` gives monotonic seconds; `number` is its place among --count."""

    driver: ClassVar[str]
    scheme: str = "tcp"  # of its address, which says by what door it is reached (`doors.DOORS`)
    connections_max: ClassVar[int] = 100
    settings: ClassVar[Mapping[str, str]] = {}  # what --set takes: name → help
    faults_of_its_own: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, number: int, seed: int, settings: Mapping[str, str], faults: Faults, clock: Callable[[], float]
    ) -> None:
        if unknown := sorted(set(settings) - set(self.settings)):
            known = ", ".join(self.settings) or "none"
            raise BadSetting(f"{self.driver} has no setting {', '.join(unknown)}; there are: {known}")
        self.number = number
        self.seed = seed
        self.faults = faults
        self.clock = clock
        self.started = clock()
        self.is_plugged = True  # what a person does: no answer by any door without it

    @property
    def elapsed(self) -> float:
        """Seconds since the simulator started; the time that faults go by."""
        return self.clock() - self.started

    def session(self, client: Client) -> Session:
        raise NotImplementedError

    @classmethod
    def read_back(cls, reply: str) -> tuple[dict[str, Any], tuple[float, ...]]:
        """A reply of the ledger as values by the driver's channel keys, and the device's own times."""
        raise NotImplementedError

    @classmethod
    def read_all(cls, reply: str) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
        """The same of a reply that holds several samples, such as a history."""
        return [cls.read_back(reply)]

    def is_on(self) -> bool:
        """Whether the instrument is up, as far as its own state goes."""
        return True

    def can_be_reached(self) -> bool:
        """Whether it can be connected to at all."""
        fault = self.faults.standing("refuse", self.number, self.elapsed)
        return self.is_plugged and self.is_on() and (fault is None or fault.p < 1)

    def address(self, host: str, port: int) -> str:
        """Its URL where it is reached by TCP."""
        return f"{self.scheme}://{host}:{port}"

    def garbage(self, answer: bytes, random: Random) -> bytes:
        """What comes as the answer in the fault of this name: never to be taken for one, not even for one
        with other values. This one is for a wire of lines."""
        return torn_line(answer, random)

    def adjust_tls(self, context: ssl.SSLContext) -> None:
        """Set the instrument's own protocols, ciphers or certificate (`load_cert_chain`); by TLS only."""


class FileSimulator(Simulator):
    """One that has no wire and writes files."""

    scheme = "file"
    every: ClassVar[float] = 1.0  # seconds

    def write(self, folder: Path) -> list[str]:
        """Bring its files up to date; what of it are readings, each as a text for the ledger."""
        raise NotImplementedError

    def address_of(self, folder: Path) -> str:
        """Its URL."""
        return folder.as_uri()
