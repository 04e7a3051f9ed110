"""The page of completeness: each instrument of the last hours or days, the least complete first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_GET

from devices import numbers
from devices.models import PUSH_EDGE, Channel, Edge, Instrument
from telemetry.completeness import Cell, report
from telemetry.completeness.report import Report, Row

SPANS = {"12h": (timedelta(hours=12), 1), "24h": (timedelta(hours=24), 1), "7d": (timedelta(days=7), 6)}
USUAL = "24h"
CELLS_MAX = 130_000  # hours of channels looked at for one page
FULL = 0.9995
HOLES = 5


@dataclass(frozen=True)
class Box:
    """One place of a strip: some hours, as the least complete of them together."""

    cell: Cell
    hours: int

    @property
    def level(self) -> str:
        """How much is missing, in steps; `off`: nothing was due; `lost`: nothing explains it."""
        share = self.cell.share
        if share is None:
            return "off"
        if self.cell.lost:
            return "lost"
        return "full" if share >= FULL else f"miss{min(int((1 - share) * 4) + 1, 4)}"

    @property
    def words(self) -> str:
        """In words, for who points at it or hears it."""
        lost = _(", %d lost") % self.cell.lost if self.cell.lost else ""
        share = _("nothing due") if self.cell.share is None else report.percent(self.cell.share)
        return f"{self.cell.start:%Y-%m-%d %H:%M} UTC: {share}{lost}"


@dataclass(frozen=True)
class Line:
    """One instrument in the words of the page."""

    row: Row
    hours: int  # in one place of the strip

    @property
    def instrument(self) -> Instrument:
        return self.row.instrument

    @property
    def share(self) -> str:
        return report.percent(self.row.share)

    @property
    def missing(self) -> str:
        total = self.row.total
        return report.amount(self.row.worst, total.due - total.received)

    @property
    def reasons(self) -> str:
        return report.reasons(self.row.worst, self.row.total)

    @property
    def lost(self) -> str:
        return numbers.number(self.row.lost, 0)

    @cached_property
    def strip(self) -> list[Box]:
        return list(_boxes(self.row.hours, self.hours))

    @property
    def strip_words(self) -> str:
        """What the strip shows, as far as it is not complete."""
        told = [box.words for box in self.strip if box.level not in ("full", "off")]
        return "; ".join(told) or _("complete all the time")

    @property
    def holes(self) -> list[str]:
        return [report.hole_words(channel, hole) for channel, hole in self.row.holes[:HOLES]]


def _boxes(hours: Sequence[Cell], together: int) -> Iterator[Box]:
    for begin in range(0, len(hours), together):
        whole = Cell(hours[begin].start)
        for cell in hours[begin : begin + together]:
            whole.add(cell)
        yield Box(whole, together)


@dataclass(frozen=True)
class Shown:
    """What the page shows."""

    span: str
    edge: str
    edges: list[str]
    report: Report | None  # None: too much to look at; an edge or less time must be chosen

    @property
    def lines(self) -> list[Line]:
        rows = self.report.rows if self.report else []
        return [Line(row, SPANS[self.span][1]) for row in rows if row.is_counted]

    @property
    def spans(self) -> list[tuple[str, str]]:
        return [("12h", _("12 hours")), ("24h", _("24 hours")), ("7d", _("7 days"))]

    @property
    def from_to(self) -> str:
        made = self.report
        return f"{made.start:%Y-%m-%d %H:%M} – {made.until:%Y-%m-%d %H:%M} UTC" if made else ""


@require_GET
@gzip_page
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """How complete each instrument was. `?span=12h`, `24h` or `7d`; `?edge=` for those of one edge."""
    span, edge = request.GET.get("span", USUAL), request.GET.get("edge", "")
    if span not in SPANS:
        return HttpResponseBadRequest()
    shown = {"page": content(span, edge, timezone.now()), "here": "completeness"}
    return render(request, "labsite/completeness.html", shown)


def content(span: str, edge: str, now: datetime) -> Shown:
    """All that is polled, or that of one edge."""
    edges = list(Edge.objects.filter(retired_at=None).exclude(name=PUSH_EDGE).values_list("name", flat=True))
    found = Instrument.objects.filter(retired_at=None)
    if edge:
        found = found.filter(edge__name=edge)
    counted = Channel.objects.filter(instrument__in=found).aggregate(all=Count("id"))
    fits = counted["all"] * (SPANS[span][0] / timedelta(hours=1)) <= CELLS_MAX
    made = report.make(found, now - SPANS[span][0], now, now) if fits else None
    return Shown(span, edge, edges, made)
