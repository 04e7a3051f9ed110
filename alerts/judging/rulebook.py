"""The rules of one edge, compiled: which rule watches which channel, with which limits, as arrays.

Looked up once per revision of the rules and of the edge, so that judging a parcel costs no query a rule.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from alerts.judging.conditions import SECOND, Bools, Delays, Limits, Truth
from alerts.models import Override, Route, Rule, RuleKind
from alerts.models.rules import VALUE_KINDS
from devices.models import PUSH_EDGE, Channel, Edge, Instrument

HOST_DRIVER = "edge_host"
HOLD_INTERVALS, HOLD_LEAST_S = 3.0, 15.0  # for which a value stands for itself
RATE_WINDOW_S = 60.0
FOR_EVER = 1 << 62
OF_CHANNELS = (*VALUE_KINDS, RuleKind.STALE)

WORDS = {"true": 1.0, "yes": 1.0, "on": 1.0, "false": 0.0, "no": 0.0, "off": 0.0}


class Place(NamedTuple):
    """A channel, as far as judging and telling of it need it."""

    id: int
    instrument: UUID
    key: str
    label: str
    unit: str
    kind: str
    digits: int | None


@dataclass(frozen=True, slots=True)
class Watch:
    """One rule on one channel, with what is otherwise for this one."""

    rule: Rule
    place: Place
    low: float | None
    high: float | None
    value: str
    deadband: float
    seconds: float | None
    priority: int
    delays: Delays

    @property
    def is_of_text(self) -> bool:
        return self.place.kind == "text" and self.rule.kind in (RuleKind.EQUALS, RuleKind.DIFFERS)

    @property
    def window(self) -> int:
        """Over which a rate is measured, in µs."""
        return round((self.seconds or RATE_WINDOW_S) * SECOND)


def limits_of(watches: Iterable[Watch]) -> Limits:
    """The numbers that readings are held against; a rate's stand for the rate."""
    rows = [_limits(watch) for watch in watches]
    columns = np.array(rows, np.float64).reshape(-1, 5).T
    return Limits(*columns)


def _limits(watch: Watch) -> tuple[float, float, float, float, float]:
    kind = watch.rule.kind
    high = watch.high if kind in (RuleKind.HIGH, RuleKind.OUTSIDE, RuleKind.RATE) else None
    low = watch.low if kind in (RuleKind.LOW, RuleKind.OUTSIDE) else None
    number = np.nan if watch.is_of_text else number_of(watch.value)
    return (
        np.inf if high is None else high,
        -np.inf if low is None else low,
        watch.deadband,
        number if kind == RuleKind.EQUALS else np.nan,
        number if kind == RuleKind.DIFFERS else np.nan,
    )


def text_truth(watch: Watch, text: str | None, *, good: bool) -> Truth:
    """What a text says of a rule that names one; capitals do not matter."""
    if text is None or not good:
        return Truth.UNKNOWN
    is_it = text.strip().casefold() == watch.value.strip().casefold()
    return Truth(int(is_it == (watch.rule.kind == RuleKind.EQUALS)))


def number_of(text: str) -> float:
    """A value as channels of numbers and of yes or no store it; NaN for what is none."""
    word = text.strip().casefold()
    try:
        return WORDS[word] if word in WORDS else float(word)
    except ValueError:
        return np.nan


@dataclass
class Book:
    """All rules that watch something of one edge. `watches` are sorted by channel."""

    edge_id: int
    is_pushed: bool
    revisions: tuple[int, int]
    watches: list[Watch]
    instruments: dict[UUID, Instrument]
    rules: dict[int, Rule]  # all that are enabled
    instrument_of: dict[int, UUID]  # of each channel there was
    happenings: frozenset[str]  # kinds that some route wants to hear of
    by_channel: dict[tuple[int, int], int] = field(default_factory=dict)  # (rule, channel) → watch

    channels_of: dict[UUID, list[int]] = field(default_factory=dict)  # but for vectors, which are never bad

    def __post_init__(self) -> None:
        self.by_channel = {
            (watch.rule.pk, watch.place.id): number for number, watch in enumerate(self.watches)
        }

    def knows(self, channels: Iterable[int]) -> bool:
        """Whether it was compiled with all of these."""
        return self.instrument_of.keys() >= set(channels)

    @cached_property
    def limits(self) -> Limits:
        return limits_of(self.watches)

    @cached_property
    def channel(self) -> NDArray[np.int64]:
        """The channel of each watch."""
        return np.array([watch.place.id for watch in self.watches], np.int64)

    @cached_property
    def is_stale(self) -> Bools:
        return self._are(lambda watch: watch.rule.kind == RuleKind.STALE)

    @cached_property
    def is_rate(self) -> Bools:
        return self._are(lambda watch: watch.rule.kind == RuleKind.RATE)

    @cached_property
    def is_text(self) -> Bools:
        return self._are(lambda watch: watch.is_of_text)

    @cached_property
    def first(self) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
        """From a channel's number less the first value here to its first watch, and to how many it has."""
        if not self.watches:
            return 0, np.zeros(1, np.int64), np.zeros(1, np.int64)
        numbers, start, count = np.unique(self.channel, return_index=True, return_counts=True)
        base = int(numbers[0])
        size = int(numbers[-1]) - base + 2  # the last place stands for all others
        starts, counts = np.zeros(size, np.int64), np.zeros(size, np.int64)
        starts[numbers - base], counts[numbers - base] = start, count
        return base, starts, counts

    def instrument_rules(self, kind: str) -> list[tuple[Rule, set[UUID]]]:
        """The rules of a kind that is not of channels, each with the instruments that it watches."""
        return [
            (rule, {pk for pk, each in self.instruments.items() if watches_instrument(rule, each)})
            for rule in self.rules.values()
            if rule.kind == kind
        ]

    def _are(self, what: Callable[[Watch], bool]) -> Bools:
        return np.array([what(watch) for watch in self.watches], np.bool_)


class _Books(threading.local):
    """Of one thread, as its connection is."""

    def __init__(self) -> None:
        self.by_edge: dict[int, Book] = {}


_books = _Books()

REVISIONS = """
SELECT coalesce((SELECT number FROM alerts_revision WHERE id = 1), 0), revision
FROM devices_edge WHERE id = %s
"""


def of_edge(edge_id: int, channels: Iterable[int] = ()) -> Book:
    """The book of an edge as the current transaction sees it; `channels` that are new to it are met."""
    with connection.cursor() as cursor:
        cursor.execute(REVISIONS, [edge_id])
        rules, edge = cursor.fetchone()
    book = _books.by_edge.get(edge_id)
    if book is None or book.revisions != (rules, edge) or not book.knows(channels):
        book = _books.by_edge[edge_id] = compile_book(edge_id, (rules, edge))
    return book


def forget(edge_id: int) -> None:
    """After a rollback: it may know channels that were not made after all."""
    _books.by_edge.pop(edge_id, None)


def compile_book(edge_id: int, revisions: tuple[int, int]) -> Book:
    """Look up all that watches something of this edge: six queries."""
    edge = Edge.objects.get(pk=edge_id)
    instruments = {each.pk: each for each in Instrument.objects.filter(edge=edge_id, retired_at=None)}
    places = [
        Place(*row)
        for row in Channel.objects.filter(instrument__edge=edge_id, instrument__retired_at=None)
        .order_by("pk")
        .values_list("pk", "instrument_id", "key", "label", "unit", "kind", "digits")
    ]
    rules = list(Rule.objects.filter(enabled=True).order_by("pk"))
    overrides = {
        (each.rule_id, each.channel_id): each
        for each in Override.objects.filter(channel__instrument__edge=edge_id)
    }
    wanted = Route.objects.filter(enabled=True).values_list("happenings", flat=True)
    return Book(
        edge_id,
        edge.name == PUSH_EDGE,
        revisions,
        _watches(rules, places, instruments, overrides),
        instruments,
        {rule.pk: rule for rule in rules},
        {place.id: place.instrument for place in places},
        frozenset(kind for kinds in wanted for kind in kinds),
        channels_of=_channels_of(places),
    )


def _channels_of(places: Iterable[Place]) -> dict[UUID, list[int]]:
    found: dict[UUID, list[int]] = defaultdict(list)
    for place in places:
        if place.kind != "vector":
            found[place.instrument].append(place.id)
    return dict(found)


def _watches(
    rules: Iterable[Rule],
    places: Iterable[Place],
    instruments: Mapping[UUID, Instrument],
    overrides: Mapping[tuple[int, int], Override],
) -> list[Watch]:
    of_instrument: dict[UUID, list[Rule]] = {
        pk: [rule for rule in rules if rule.kind in OF_CHANNELS and watches_instrument(rule, each)]
        for pk, each in instruments.items()
    }
    found = []
    for place in places:
        if place.kind == "vector":
            continue
        for rule in of_instrument[place.instrument]:
            if watches_channel(rule, place):
                override = overrides.get((rule.pk, place.id))
                if override is None or override.enabled:
                    found.append(watch(rule, place, instruments[place.instrument].interval, override))
    return found


def watches_instrument(rule: Rule, instrument: Instrument) -> bool:
    """Whether a rule is of this instrument, or of some of its channels."""
    if rule.kind == RuleKind.NOT_CONNECTED and instrument.driver == HOST_DRIVER:
        return False
    if rule.instrument_id is not None and rule.instrument_id != instrument.pk:
        return False
    if rule.edge_id is not None and rule.edge_id != instrument.edge_id:
        return False
    return rule.driver in ("", instrument.driver) and (not rule.tag or rule.tag in instrument.tags)


def watches_channel(rule: Rule, place: Place) -> bool:
    """Whether a rule that is of a channel's instrument is of the channel, too."""
    if rule.channel_id is not None:
        return rule.channel_id == place.id
    return not rule.key or rule.key == place.key or fnmatchcase(place.key, rule.key.replace("[", "[[]"))


def watch(rule: Rule, place: Place, interval: float, override: Override | None = None) -> Watch:
    """A rule on a channel, as an override changes it."""

    def said(name: str) -> float | None:
        other = getattr(override, name, None)
        mine: float | None = getattr(rule, name)
        return mine if other is None else other

    return Watch(
        rule,
        place,
        said("low"),
        said("high"),
        (override and override.value) or rule.value,
        said("deadband") or 0.0,
        said("seconds"),
        (override and override.priority) or rule.priority,
        delays(said("on_delay"), said("off_delay"), None if rule.kind == RuleKind.STALE else interval),
    )


def delays(on: float | None, off: float | None, interval: float | None = None) -> Delays:
    """In µs, from seconds. Without an interval what was said last stands until something else is said."""
    hold = FOR_EVER if interval is None else round(max(HOLD_INTERVALS * interval, HOLD_LEAST_S) * SECOND)
    return Delays(round((on or 0.0) * SECOND), round((off or 0.0) * SECOND), hold)


def delays_of(rule: Rule) -> Delays:
    """Of a rule on a whole instrument, edge or contact."""
    return delays(rule.on_delay, rule.off_delay)
