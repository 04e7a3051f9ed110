"""What a simulated instrument is, whatever its wire: it hears bytes and answers through its client."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from devices.simulators.faults import Faults


class BadSetting(ValueError):
    """A setting of a simulator cannot be used; the message is for the person who wrote it."""


class Client(Protocol):
    """The other side of one connection, as an instrument sees it."""

    def answer(self, line: bytes, *, reading: bool = False) -> None:
        """Send an answer, through the faults; `reading`: it carries values and belongs in the ledger."""

    def close(self) -> None:
        """Close the connection once all is sent."""

    def reset(self) -> None:
        """Break the connection off."""


class Session(Protocol):
    """One client's conversation with an instrument."""

    def hear(self, chunk: bytes) -> None:
        """Bytes came; they need not be whole lines."""

    def end(self) -> None:
        """The client is gone."""


class Simulator:
    """One simulated instrument. `clock` gives monotonic seconds; `number` is its place among --count."""

    driver: ClassVar[str]
    scheme: ClassVar[str] = "tcp"
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

    def is_on(self) -> bool:
        """Whether it can be connected to at all."""
        return True
