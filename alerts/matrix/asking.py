"""What the bot tells of instruments: how they are doing, their newest readings, a channel's course."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import QuerySet

from alerts.matrix import parsing
from alerts.matrix.content import Answer, first
from devices import numbers
from devices.errors import Refused
from devices.models import Channel, Instrument, Latest, Run
from devices.readings import QUALITY_MASK, Quality
from telemetry import history

CURRENT = ("pending", "running", "paused")
STALE_INTERVALS, STALE_LEAST_S = 2.5, 4.0  # as on the pages
SHOWN = 50  # lines of a list
HOURS, HOURS_MOST = 24.0, 24.0 * 366
POINTS = 1_500
DRAWN = ("float", "int", "bool")
RUN_KEYS = ("stage", "cycle", "step")
QPCR = "quantstudio"

Readings = Mapping[str, Latest]


@dataclass(frozen=True)
class Series:
    """What is to be drawn: times in milliseconds of UTC since 1970."""

    title: str
    unit: str
    times: Sequence[int]
    values: Sequence[float | None]
    is_stepped: bool


@dataclass(frozen=True)
class Picture(Answer):
    """An answer with a drawing; the text says the same in words."""

    series: Series | None = None


# ---- how instruments are doing


def status(now: datetime) -> Answer:
    """A line of each, in the order of their names."""
    instruments = list(_instruments().exclude(driver="edge_host"))
    if not instruments:
        return Answer("There are no instruments.")
    shown = instruments[:SHOWN]
    readings = _readings(shown)
    runs = _runs(shown)
    lines = [
        f"{each.name}: {line(each, readings.get(each.pk, {}), runs.get(each.pk), now)}" for each in shown
    ]
    if len(instruments) > SHOWN:
        lines.append(f"… and {len(instruments) - SHOWN} more: !status <machine>")
    return Answer.of("Instruments:", lines)


def line(instrument: Instrument, readings: Readings, run: Run | None, now: datetime) -> str:
    state = state_of(instrument, readings, now)
    if instrument.driver == QPCR and state in ("normal", "") and "power" in readings:
        return f"{_power(readings)}, {_cover(readings)}, {_course(readings)}."
    return f"{state}{f', {run_line(run)}' if run else ''}."


def state_of(instrument: Instrument, readings: Readings, now: datetime) -> str:
    """The same words as the overview's."""
    if not instrument.in_service:
        return "out of service"
    if not readings:
        return "no reading yet"
    bad = sum(_is_bad(each) for each in readings.values())
    if bad == len(readings):
        return "not connected"
    seen = max(each.seen_at for each in readings.values())
    if (now - seen).total_seconds() > max(STALE_INTERVALS * instrument.interval, STALE_LEAST_S):
        return f"silent, last heard {numbers.age(seen, now)}"
    return f"{bad} values missing" if bad else "normal"


def run_line(run: Run) -> str:
    progress = "" if run.progress is None else f", {100 * run.progress:.0f} %"
    return f"run {run} {run.state}{progress}"


def _power(readings: Readings) -> str:
    return f"power {_switch(readings, 'power')}"


def _cover(readings: Readings) -> str:
    heat = _switch(readings, "cover.heating")
    target = readings.get("cover.target")
    at = f" at {numbers.number(target.value, 1)}°C" if heat == "on" and target else ""
    return f"cover heat {heat}{at}"


def _course(readings: Readings) -> str:
    """`running T (stage S, cycle C, step P)`, or `idle`."""
    state = (_text(readings, "state") or "unknown").lower()
    if state != "running":
        return state
    places = [(key, _place(readings, key)) for key in RUN_KEYS]
    where = ", ".join(f"{key} {place}" for key, place in places if place)
    title = _text(readings, "progress.title") or ""
    return " ".join(filter(None, ["running", title, f"({where})" if where else ""]))


def _place(readings: Readings, key: str) -> str:
    """Where the run is: as it was logged, else as it was asked for."""
    names = [f"run.{key}", f"progress.{key}"]
    if key == "stage":
        names.insert(0, "run.stage_name")
    for name in names:
        if text := _text(readings, name):
            return text
    return ""


def _switch(readings: Readings, key: str) -> str:
    reading = readings.get(key)
    if reading is None or reading.value is None or _is_bad(reading):
        return "unknown"
    return "on" if reading.value else "off"


def _text(readings: Readings, key: str) -> str:
    reading = readings.get(key)
    if reading is None or _is_bad(reading):
        return ""
    said = numbers.shown(reading.value, reading.text, reading.channel.kind, reading.channel.digits)
    return "" if said in (numbers.NOTHING, "-") else said


def _is_bad(reading: Latest) -> bool:
    return reading.quality & QUALITY_MASK == Quality.BAD


def status_of(name: str, now: datetime) -> Answer:
    """One instrument in full."""
    instrument, rest = instrument_in(name)
    if rest:
        raise Refused(f"Machine {name} not found")
    readings = _readings([instrument]).get(instrument.pk, {})
    run = _runs([instrument]).get(instrument.pk)
    lines = [state_of(instrument, readings, now)]
    if instrument.driver == QPCR:
        lines += [_power(readings), f"drawer {_text(readings, 'drawer') or 'unknown'}"]
        lines += [f"cover {_text(readings, 'cover.position') or 'unknown'}, {_cover(readings)}"]
        lines.append(_course(readings))
    elif run:
        lines.append(run_line(run))
    return Answer.of(f"{instrument.name}:", [*lines, *_lines(readings, now, SHOWN)])


def latest(name: str, now: datetime) -> Answer:
    """Its newest readings."""
    if not name:
        raise Refused("of which instrument? !latest <instrument>")
    instrument, rest = instrument_in(name)
    if rest:
        raise Refused(f"Machine {name} not found")
    lines = _lines(_readings([instrument]).get(instrument.pk, {}), now, SHOWN)
    return Answer.of(f"{instrument.name}:", lines or ["no reading yet"])


def _lines(readings: Readings, now: datetime, most: int) -> list[str]:
    return first([reading_line(each, now) for each in readings.values()], most)


def reading_line(reading: Latest, now: datetime) -> str:
    """`cover: 105.0 °C (1.2 s ago)`."""
    channel = reading.channel
    said = numbers.shown(reading.value, reading.text, channel.kind, channel.digits)
    if channel.kind == "bool" and reading.value is not None:
        said = "on" if reading.value else "off"
    unit = f" {numbers.unit(channel.unit)}" if channel.unit and reading.value is not None else ""
    bad = ", bad" if _is_bad(reading) else ""
    seen = reading.time if bad else reading.seen_at
    return f"{channel.label}: {said}{unit} ({numbers.age(seen, now)}{bad})"


# ---- a channel's course


def plot(rest: str, now: datetime) -> Picture:
    """A channel over the last hours, 24 unless a number of hours comes last."""
    form = "!plot <channel> [hours], such as !plot UPS rack A input voltage 24"
    if not rest:
        raise Refused(f"of which channel? {form}")
    instrument, said = instrument_in(rest)
    channel, hours = channel_in(instrument, said)
    since = now - timedelta(hours=hours)
    times, values = history.recent([channel], since, now, POINTS).points[channel.pk]
    known = [value for value in values if value is not None]
    title = f"{instrument.name} {channel.label}, last {numbers.number(hours)} h"
    if not known:
        return Picture(f"{title}: no readings")
    unit = numbers.unit(channel.unit)
    low, high, last = (numbers.number(each, channel.digits) for each in (min(known), max(known), known[-1]))
    caption = Answer.of(f"{title}: {low} to {high} {unit}, last {last} {unit}".rstrip())
    series = Series(f"{instrument.name} {channel.label}", unit, times, values, channel.kind != "float")
    return Picture(caption.text, caption.html, series)


def channel_in(instrument: Instrument, text: str) -> tuple[Channel, float]:
    """The channel that a text names by its label or key, and the hours behind it."""
    channels = list(instrument.channels.filter(kind__in=DRAWN))
    for name in (lambda channel: channel.label, lambda channel: channel.key):
        found = parsing.named_in(text, channels, name)
        if found and (hours := _hours(found[1])) is not None:
            return found[0], hours
    some = ", ".join(channel.key for channel in channels[:12])
    raise Refused(f"{instrument.name} has no channel {text or '…'}; some are: {some}")


def _hours(text: str) -> float | None:
    """24 if nothing is said, None if it is no number of hours."""
    if not text:
        return HOURS
    try:
        hours = float(text.removesuffix("h").strip())
    except ValueError:
        return None
    return hours if 0 < hours <= HOURS_MOST else None


# ---- what there is


def instrument_in(text: str) -> tuple[Instrument, str]:
    """The instrument whose name a text begins with, and the rest. Raises Refused."""
    found = parsing.named_in(text, _instruments(), lambda instrument: instrument.name)
    if found is None:
        raise Refused(f"Machine {text} not found" if text else "which machine?")
    return found


def _instruments() -> QuerySet[Instrument]:
    return Instrument.objects.filter(retired_at=None).order_by("name")


def _readings(instruments: Sequence[Instrument]) -> dict[object, dict[str, Latest]]:
    """The newest readings of these by key, in the order of their channels, without vectors."""
    found: dict[object, dict[str, Latest]] = {}
    latest = Latest.objects.filter(channel__instrument__in=instruments).exclude(channel__kind="vector")
    for each in latest.select_related("channel").order_by("channel__position", "channel_id"):
        found.setdefault(each.channel.instrument_id, {})[each.channel.key] = each
    return found


def _runs(instruments: Iterable[Instrument]) -> dict[object, Run]:
    """The current run of each that has one: the last that was told of."""
    runs = Run.objects.filter(instrument__in=instruments, state__in=CURRENT).order_by("told_at", "id")
    return {run.instrument_id: run for run in runs}
