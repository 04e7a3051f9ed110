"""What an export is asked for, and the columns that its rows have."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from devices.models import Channel, Run
from telemetry.series.choice import HOUR, MINUTE, Choice, Resolution

CHANNELS_MOST = 50


class Layout(StrEnum):
    """One row for each reading of each channel; or one for each time, with columns for each channel."""

    LONG = "long"
    WIDE = "wide"


class Kind(StrEnum):
    """What the cells of a column are."""

    TIME = "time"
    TEXT = "text"
    NUMBER = "number"
    COUNT = "count"


class Column(NamedTuple):
    """A column of an export. `means`: what it says, for whoever finds the file in some years."""

    name: str
    kind: Kind
    means: str = ""


@dataclass(frozen=True)
class Question:
    """Which readings of which time, how much together, and in what form."""

    channels: Sequence[Channel]  # with their instruments
    start: datetime
    end: datetime
    form: str = "csv"  # one of telemetry.export.FORMS
    resolution: Resolution = Resolution.RAW
    layout: Layout = Layout.LONG
    run: Run | None = None
    comments: bool = True  # whether CSV begins with what the file says of itself

    def __post_init__(self) -> None:
        """Raises ValueError."""
        if self.layout is Layout.WIDE and self.has_vectors:
            raise ValueError("Channels of vectors have no place in the layout `wide`.")

    @property
    def asked(self) -> dict[str, str]:
        """The parameters by which the same is asked for again."""
        return {
            "channel": ",".join(str(channel.pk) for channel in self.channels),
            "from": self.start.isoformat(),
            "to": self.end.isoformat(),
            "format": self.form,
            "resolution": self.resolution.value,
            "layout": self.layout.value,
            **({} if self.run is None else {"run": str(self.run.pk)}),
        }

    @property
    def around(self) -> tuple[datetime, datetime]:
        """From when to when rows are: of buckets those that hold any of the time, whole."""
        width = {Resolution.RAW: None, Resolution.MINUTE: MINUTE, Resolution.HOUR: HOUR}[self.resolution]
        return Choice(self.resolution, width).around(self.start, self.end)

    @property
    def has_vectors(self) -> bool:
        return any(channel.kind == "vector" for channel in self.channels)

    @cached_property
    def names(self) -> dict[int, str]:
        """What each channel's columns are called in the wide layout: no two alike."""
        plain = {each.pk: f"{each.instrument.name} {each.key}" for each in self.channels}
        twice = {name for name in plain.values() if list(plain.values()).count(name) > 1}
        return {number: f"{name} {number}" if name in twice else name for number, name in plain.items()}

    @cached_property
    def columns(self) -> list[Column]:
        if self.layout is Layout.WIDE:
            return [TIME, *(column for channel in self.channels for column in self._wide(channel))]
        if self.resolution is not Resolution.RAW:
            return [TIME, *WHOSE, *ROLLED]
        return [TIME, *WHOSE, *([ELEMENT] if self.has_vectors else []), *READING]

    def _wide(self, channel: Channel) -> list[Column]:
        name, kind = self.names[channel.pk], Kind.TEXT if channel.kind == "text" else Kind.NUMBER
        if self.resolution is Resolution.RAW:
            return [Column(name, kind), Column(f"{name} quality", Kind.TEXT)]
        if kind is Kind.TEXT:
            return [Column(name, kind)]
        return [Column(f"{name} {word}", kind) for word in ("min", "mean", "max")]


TIME = Column("time", Kind.TIME, "ISO 8601 in UTC: of a minute or an hour its beginning")
WHOSE = [
    Column("channel", Kind.COUNT, "the channel's id"),
    Column("instrument", Kind.TEXT, "the instrument's name"),
    Column("key", Kind.TEXT, "the channel's key"),
    Column("unit", Kind.TEXT, "UCUM"),
]
ELEMENT = Column("element", Kind.TEXT, "of a vector: the label of the number or its place (from 0)")
READING = [
    Column("value", Kind.NUMBER, "empty where no number was read"),
    Column("quality", Kind.TEXT, "how far it can be trusted"),
    Column("flags", Kind.TEXT, "what else is known of it"),
    Column("text", Kind.TEXT, "what a channel of words said - beside a bad number why it is bad"),
]
ROLLED = [
    Column("n", Kind.COUNT, "readings that are not bad and say something"),
    Column("bad", Kind.COUNT, "readings that are bad (not among the n)"),
    Column("min", Kind.NUMBER, "of the n"),
    Column("mean", Kind.NUMBER, "of the n"),
    Column("max", Kind.NUMBER, "of the n"),
    Column("last", Kind.NUMBER, "of the n"),
    Column("text", Kind.TEXT, "the last of a channel of words"),
]
