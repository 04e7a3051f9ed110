"""What channels and instruments are called while a sink is fed: looked up, and again after a few seconds."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from devices.models import Channel, Instrument

KEPT_S = 5.0

Only = dict[str, Any]


class About(NamedTuple):
    """An instrument."""

    id: UUID
    name: str
    driver: str
    edge: str
    tags: tuple[str, ...]

    def is_of(self, only: Only) -> bool:
        """Whether a sink that is `only` for some takes it: each condition names one word or several."""
        return all(not self._words(what).isdisjoint(_listed(words)) for what, words in only.items())

    def _words(self, what: str) -> set[str]:
        return set(self.tags) if what == "tag" else {getattr(self, "name" if what == "instrument" else what)}


class Source(NamedTuple):
    """A channel."""

    id: int
    key: str
    unit: str
    kind: str
    of: About


class Directory:
    """Asks for those that it does not know, and for all anew after `KEPT_S`. Of one thread."""

    def __init__(self) -> None:
        self._sources: dict[int, Source | None] = {}
        self._instruments: dict[UUID, About | None] = {}
        self._until = 0.0
        self.plates: dict[tuple[UUID, str], dict[str, str]] = {}  # what is in the wells, by run

    def sources(self, channels: Iterable[int]) -> dict[int, Source]:
        """The channels of these numbers, without those there are no more."""
        self._forget_old()
        wanted = set(channels)
        if new := wanted - self._sources.keys():
            found = Channel.objects.filter(pk__in=new).select_related("instrument__edge")
            self._sources.update(dict.fromkeys(new))
            self._sources.update({channel.pk: source_of(channel) for channel in found})
        return {number: source for number in wanted if (source := self._sources[number])}

    def instruments(self, numbers: Iterable[UUID]) -> dict[UUID, About]:
        """The instruments of these numbers, without those there are no more."""
        self._forget_old()
        wanted = set(numbers)
        if new := wanted - self._instruments.keys():
            found = Instrument.objects.filter(pk__in=new).select_related("edge")
            self._instruments.update(dict.fromkeys(new))
            self._instruments.update({instrument.pk: about(instrument) for instrument in found})
        return {number: known for number in wanted if (known := self._instruments[number])}

    def _forget_old(self) -> None:
        if time.monotonic() > self._until:
            self._sources, self._instruments, self.plates = {}, {}, {}
            self._until = time.monotonic() + KEPT_S


def about(instrument: Instrument) -> About:
    return About(
        instrument.pk, instrument.name, instrument.driver, instrument.edge.name, tuple(instrument.tags)
    )


def source_of(channel: Channel) -> Source:
    return Source(channel.pk, channel.key, channel.unit, channel.kind, about(channel.instrument))


def _listed(words: Any) -> list[str]:
    return [words] if isinstance(words, str) else list(words)
