"""What channels and instruments are called while a sink is fed: looked up, and again after a few seconds."""

import time
from collections.abc import Iterable, Iterator
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
        self.heads: dict[int, str] = {}  # of points, by channel

    def sources(self, channels: Iterable[int]) -> dict[int, Source]:
        """The channels of these numbers, without those there are no more."""
        self._forget_old()
        wanted = set(channels)
        if new := wanted - self._sources.keys():
            self._sources.update(dict.fromkeys(new))
            self._sources.update((source.id, source) for source in _sources(new))
        return {number: source for number in wanted if (source := self._sources[number])}

    def news(self, channels: Iterable[int]) -> dict[int, Source]:
        """Those of these channels that have no head yet."""
        self._forget_old()
        return self.sources(set(channels) - self.heads.keys())

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
            self._sources, self._instruments, self.plates, self.heads = {}, {}, {}, {}
            self._until = time.monotonic() + KEPT_S


def about(instrument: Instrument) -> About:
    return About(
        instrument.pk, instrument.name, instrument.driver, instrument.edge.name, tuple(instrument.tags)
    )


def _sources(channels: set[int]) -> Iterator[Source]:
    """Without a model of each: there may be ten thousand."""
    instruments: dict[UUID, About] = {}
    rows = Channel.objects.filter(pk__in=channels).values_list(
        "pk", "key", "unit", "kind", "instrument", "instrument__name", "instrument__driver",
        "instrument__edge__name", "instrument__tags",
    )  # fmt: skip
    for number, key, unit, kind, instrument, name, driver, edge, tags in rows:
        if instrument not in instruments:
            instruments[instrument] = About(instrument, name, driver, edge, tuple(tags))
        yield Source(number, key, unit, kind, instruments[instrument])


def _listed(words: Any) -> list[str]:
    return [words] if isinstance(words, str) else list(words)
