"""What the overview and an instrument's page show, in few questions however many instruments there are."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext as _

from devices import drivers, numbers
from devices.errors import ConfigurationError
from devices.models import Channel, Instrument
from labsite.pages.beside import Course, courses
from labsite.pages.standing import WORDED, Normal, Now, Standing, State, stale_after, state

ROWS_ON_A_CARD = 6
OFFERED = 8  # channels whose button stands above the chart; those of more are behind a word
EDGE_HOST = "edge_host"  # the driver of an edge's own health


def milliseconds(at: datetime) -> int:
    """Milliseconds of UTC since 1970."""
    return round(at.timestamp() * 1000)


@dataclass(frozen=True)
class Row:
    """One channel on a card."""

    id: int
    label: str
    unit: str
    kind: str
    digits: int | None
    normal: Normal
    now: Now | None
    at: int  # the clock it is judged by, in milliseconds of UTC
    limit: float  # milliseconds after which a value is stale
    heard: int | None = None  # when its instrument answered last: what it did not tell anew is as it was

    @property
    def text(self) -> str:
        if self.now is None:
            return numbers.NOTHING
        return numbers.shown(self.now.value, None if self.told_why else self.now.text, self.kind, self.digits)

    @property
    def told_why(self) -> bool:
        """Whether the text is the reason why the value is bad."""
        return self.now is not None and self.now.bad and self.kind not in WORDED

    @property
    def reason(self) -> str:
        """Why there is no value, or none for now; "" when there is one."""
        if self.now is None:
            return _("not read yet")
        if self.told_why and self.now.text:
            return self.now.text
        if self.now.bad:
            return _("no reading") if self.text == numbers.NOTHING else _("not valid")
        if self.now.value is None and not self.now.text:
            return _("no value")
        return ""

    @property
    def outside(self) -> bool:
        return self.now is not None and not self.now.bad and self.normal.left_by(self.now.value)

    @property
    def stale(self) -> bool:
        if self.now is None:
            return False
        return self.now.bad or self.at - max(self.now.seen, self.heard or 0) > self.limit

    @property
    def age(self) -> str:
        """That of the value; "" when there never was one."""
        return age(self.now.read, self.at) if self.now and self.text != numbers.NOTHING else ""

    @property
    def ranged(self) -> bool:
        low, high = self.normal
        return low is not None and high is not None and high > low

    @property
    def range_words(self) -> str:
        low, high = (numbers.number(bound, self.digits) for bound in self.normal)
        return _("normal from %(low)s to %(high)s %(unit)s") % {"low": low, "high": high, "unit": self.unit}

    @property
    def mark(self) -> str:
        """Where the value stands on its bar, in per cent; the middle half of the bar is normal."""
        low, high = self.normal
        value = self.now.value if self.now else None
        if low is None or high is None or value is None or not math.isfinite(value):
            return ""
        share = 25 + 50 * (value - low) / (high - low)
        return f"{min(98.5, max(1.5, share)):.1f}"


@dataclass(frozen=True)
class Card:
    """One instrument as the overview shows it."""

    instrument: Instrument
    rows: list[Row]
    now: int
    course: Course | None = None  # of the run that is under way

    @cached_property
    def standing(self) -> Standing:
        return Standing.of((row.normal, row.kind, row.now) for row in self.rows)

    @cached_property
    def state(self) -> State:
        instrument = self.instrument
        return state(
            self.standing,
            in_service=instrument.in_service,
            interval=instrument.interval,
            age=self.now - self.made,
            now=self.now,
        )

    @property
    def made(self) -> int:
        return milliseconds(self.instrument.created_at)

    @property
    def standing_text(self) -> str:
        """For the page's script, which goes on from here."""
        each = self.standing
        return json.dumps([each.read, each.bad, each.outside, each.seen, each.reason])

    @property
    def plottable(self) -> list[Row]:
        return [row for row in self.rows if row.kind not in WORDED]

    @property
    def offered(self) -> list[Row]:
        """Channels for the chart that are seen at once."""
        return self.plottable[:OFFERED]

    @property
    def offered_more(self) -> list[Row]:
        return self.plottable[OFFERED:]

    @property
    def url(self) -> str:
        return reverse("instrument", args=[self.instrument.pk])

    @property
    def driver_label(self) -> str:
        return driver_label(self.instrument.driver)

    @property
    def is_edge(self) -> bool:
        return self.instrument.driver == EDGE_HOST

    @property
    def shown(self) -> list[Row]:
        return self.rows[:ROWS_ON_A_CARD]

    @property
    def more(self) -> int:
        return max(0, len(self.rows) - ROWS_ON_A_CARD)

    @property
    def interval(self) -> str:
        return numbers.interval(self.instrument.interval)

    @property
    def stale(self) -> bool:
        read = [row for row in self.rows if row.now]
        return self.instrument.in_service and bool(read) and all(row.stale for row in read)

    @property
    def age(self) -> str:
        return age(self.standing.seen, self.now)

    @property
    def order(self) -> tuple[bool, int, list[tuple[str, int]]]:
        """Those silent longest first; the rest by name, so that nothing moves while it is watched."""
        since = self.standing.seen or 0 if self.state.key in ("gone", "silent") else self.now
        return (not self.is_edge, since, natural(self.instrument.name))


@dataclass(frozen=True)
class Overview:
    """All cards, in the order of the page."""

    look: list[Card] = field(default_factory=list)
    well: list[Card] = field(default_factory=list)
    out: list[Card] = field(default_factory=list)
    edges: list[Card] = field(default_factory=list)

    @property
    def everything(self) -> list[Card]:
        return [*self.look, *self.well, *self.out, *self.edges]

    @property
    def instruments(self) -> list[Card]:
        return [card for card in self.everything if not card.is_edge]

    @property
    def edge_cards(self) -> list[Card]:
        return [card for card in self.everything if card.is_edge]

    @property
    def polled(self) -> int:
        return sum(card.instrument.in_service for card in self.instruments)

    @property
    def speaking(self) -> int:
        return sum(map(speaks, self.instruments))

    @property
    def edges_heard(self) -> int:
        return sum(map(speaks, self.edge_cards))


def age(then: int | None, now: int) -> str:
    """The distance of two times in milliseconds of UTC, in words."""
    past = None if then is None else datetime.fromtimestamp(then / 1000, UTC)
    return numbers.age(past, datetime.fromtimestamp(now / 1000, UTC))


def speaks(card: Card) -> bool:
    """Whether an instrument in service answers."""
    return card.state.key in ("normal", "partly", "outside")


def natural(name: str) -> list[tuple[str, int]]:
    """A name as people sort it: bench 2 before bench 10."""
    return [(word.casefold(), int(digits or 0)) for word, digits in re.findall(r"(\D*)(\d*)", name)]


def driver_label(name: str) -> str:
    """What a driver calls itself; its name when it is not installed here."""
    try:
        return drivers.load(name).label
    except ConfigurationError:
        return name


def overview(at: datetime, find: str = "") -> Overview:
    """Every instrument that is not retired, or those with `find` in the name, driver or edge."""
    chosen = Instrument.objects.filter(retired_at=None).select_related("edge")
    if find:
        chosen = chosen.filter(
            Q(name__icontains=find) | Q(driver__icontains=find) | Q(edge__name__icontains=find)
        )
    cards = sorted(_cards(chosen, at), key=lambda card: card.order)
    page = Overview()
    for card in cards:
        _section(page, card).append(card)
    return page


def _section(page: Overview, card: Card) -> list[Card]:
    if card.state.look:
        return page.look
    if card.is_edge:
        return page.edges
    return page.well if card.instrument.in_service else page.out


def one(instrument: Instrument, at: datetime) -> Card:
    """One instrument with all its channels."""
    [card] = _cards([instrument], at)
    return card


def _cards(instruments: Iterable[Instrument], at: datetime) -> list[Card]:
    chosen = list(instruments)
    now = milliseconds(at)
    rows = _rows(chosen, now)
    under_way = courses(chosen)
    return [
        Card(instrument, rows[instrument.pk], now, under_way.get(str(instrument.pk))) for instrument in chosen
    ]


def _rows(instruments: list[Instrument], at: int) -> dict[Any, list[Row]]:
    """The channels of these instruments with their latest readings, in one question."""
    found = list(
        Channel.objects.filter(instrument__in=instruments)
        .order_by("instrument", "position", "id")
        .values_list(
            "instrument_id",
            "id",
            "label",
            "unit",
            "kind",
            "digits",
            "low",
            "high",
            "latest__time",
            "latest__value",
            "latest__quality",
            "latest__text",
            "latest__seen_at",
        )
    )
    heard: dict[Any, int] = {}
    for instrument, *_others, seen in found:
        if seen:
            heard[instrument] = max(heard.get(instrument, 0), milliseconds(seen))
    limits = {each.pk: 1000 * stale_after(each.interval) for each in instruments}
    rows: dict[Any, list[Row]] = defaultdict(list)
    for instrument, pk, label, unit, kind, digits, low, high, time, value, quality, text, seen in found:
        latest = Now(pk, milliseconds(time), value, quality, text, milliseconds(seen)) if seen else None
        rows[instrument].append(
            Row(
                pk,
                label,
                numbers.unit(unit),
                kind,
                digits,
                Normal(low, high),
                latest,
                at,
                limits[instrument],
                heard.get(instrument),
            )
        )
    return rows
