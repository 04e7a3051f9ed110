"""What a source of old readings is: it brings them one by one, and says what of it is none."""

from collections.abc import Iterator
from typing import NamedTuple

Value = float | int | bool | str


class Point(NamedTuple):
    """A reading as a source has it. `time`: µs of UTC; `place`: the number of its line or point."""

    key: str
    time: int
    value: Value
    place: int
    quality: int = 0  # devices.readings: Quality and Flags


class Refusal(NamedTuple):
    """What is no reading, and why: one of few reasons; `what`: as it stands there."""

    reason: str
    place: int
    what: str = ""


Told = Point | Refusal


class Unreadable(Exception):
    """The source cannot be read (any further), with the reason for the person who asked."""


class Source:
    """Where old readings are. `blank` counts values that were not there; `notes` say what was left out."""

    place = "line"  # what its places are

    def __init__(self) -> None:
        self.blank = 0
        self.notes: list[str] = []

    def points(self) -> Iterator[Told]:
        """Once, in any order. Raises Unreadable."""
        raise NotImplementedError
