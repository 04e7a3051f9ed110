"""What each kind of rule takes: which of its fields, of what it may be, and how its limits fit together.

Arithmetic only. Each function yields a field and, in words, what is wrong with it.
"""

import math
from collections.abc import Iterator

from alerts.judging.rulebook import OF_CHANNELS, number_of
from alerts.models import Rule, RuleKind

Wrong = Iterator[tuple[str, str]]

NEEDS: dict[str, tuple[str, ...]] = {
    RuleKind.HIGH: ("high",),
    RuleKind.LOW: ("low",),
    RuleKind.OUTSIDE: ("low", "high"),
    RuleKind.EQUALS: ("value",),
    RuleKind.DIFFERS: ("value",),
    RuleKind.RATE: ("high", "seconds"),
    RuleKind.EVENT: ("event_kind",),
    RuleKind.NO_PROGRESS: ("seconds",),
}
MAY: dict[str, tuple[str, ...]] = {
    RuleKind.STALE: ("seconds",),
    RuleKind.EVENT: ("event_text",),
    RuleKind.EDGE_SILENT: ("seconds",),
}
BY_KIND = ("low", "high", "value", "seconds", "event_kind", "event_text")
BANDED = (RuleKind.HIGH, RuleKind.LOW, RuleKind.OUTSIDE, RuleKind.RATE)

SCOPE = ("channel", "instrument", "driver", "key", "tag", "edge")
OF_INSTRUMENTS = ("instrument", "driver", "tag", "edge")
SCOPES: dict[str, tuple[str, ...]] = {
    RuleKind.EVENT: OF_INSTRUMENTS,
    RuleKind.NO_PROGRESS: OF_INSTRUMENTS,
    RuleKind.NOT_CONNECTED: OF_INSTRUMENTS,
    RuleKind.EDGE_SILENT: ("edge",),
    RuleKind.UNDELIVERED: (),
    RuleKind.SINK_NOT_FED: (),
}

SECONDS = ("seconds", "on_delay", "off_delay", "chatter_seconds")
SECONDS_MOST = 30 * 86_400.0  # of all delays and windows; µs of it are far from where integers end


def is_given(value: object) -> bool:
    return value is not None and value != ""


def takes(kind: str, name: str) -> bool:
    """Whether a kind of rule uses this field."""
    if name == "deadband":
        return kind in BANDED
    return name in NEEDS.get(kind, ()) or name in MAY.get(kind, ())


def wrong_fields(rule: Rule) -> Wrong:
    """What the kind of rule lacks, and what it does not use."""
    label = RuleKind(rule.kind).label
    for name in BY_KIND:
        given = is_given(getattr(rule, name))
        if name in NEEDS.get(rule.kind, ()) and not given:
            yield name, f"a rule of kind “{label}” needs it"
        elif given and not takes(rule.kind, name):
            yield name, f"a rule of kind “{label}” does not use it: leave it empty"
    if rule.deadband and not takes(rule.kind, "deadband"):
        yield "deadband", f"a rule of kind “{label}” has none: leave it 0"


def wrong_limits(rule: Rule) -> Wrong:
    """Limits in the wrong order, and a dead-band out of which nothing ever comes back."""
    low, high, band = rule.low, rule.high, rule.deadband
    if rule.kind == RuleKind.OUTSIDE and low is not None and high is not None:
        if low >= high:
            yield "low", f"the low limit {low:g} is not below the high one, {high:g}"
        elif 2 * band >= high - low:
            yield (
                "deadband",
                f"it must be less than half of the range from {low:g} to {high:g}, or no alarm ever clears",
            )
    if rule.kind == RuleKind.RATE and high is not None:
        if high <= 0:
            yield "high", "the limit of a rate is above 0, whichever way the value goes"
        elif band >= high:
            yield "deadband", f"it must be less than the limit {high:g}, or no alarm ever clears"
    yield from too_long(rule, SECONDS)


def too_long(row: object, names: tuple[str, ...]) -> Wrong:
    """What of these many seconds nobody would wait for."""
    for name in names:
        seconds = getattr(row, name)
        if seconds is not None and seconds > SECONDS_MOST:
            yield name, f"{seconds:g} s is too long: at most {SECONDS_MOST:.0f} s, which are 30 days"


def wrong_scope(rule: Rule) -> Wrong:
    """What a rule is of may not be said twice, nor what its kind is not of."""
    label = RuleKind(rule.kind).label
    allowed = SCOPES.get(rule.kind, SCOPE)
    given = [name for name in SCOPE if is_given(getattr(rule, name))]
    for name in given:
        if name not in allowed:
            yield name, f"a rule of kind “{label}” is of {_listed(allowed)}: leave it empty"
        elif name != "channel" and "channel" in given:
            yield name, "the rule names one channel: leave it empty"
        elif name in ("driver", "tag", "edge") and "instrument" in given:
            yield name, "the rule names one instrument: leave it empty"
    if rule.channel is not None and rule.kind in OF_CHANNELS:
        yield from wrong_channel(rule, rule.channel.kind)


def wrong_channel(rule: Rule, kind: str) -> Wrong:
    """What cannot be judged of a channel of this kind."""
    if kind == "vector":
        yield "channel", "its readings are many numbers each, which no rule can judge"
    elif kind == "text" and rule.kind in BANDED:
        yield "channel", "its readings are texts, which have no limits; they can be, or not be, a value"
    elif kind != "text" and rule.value and math.isnan(number_of(rule.value)):
        yield "value", f"{rule.value!r} is neither a number nor true or false, as this channel's values are"


def _listed(names: tuple[str, ...]) -> str:
    if not names:
        return "all there is"
    if len(names) == 1:
        return f"{names[0]} only"
    return f"{', '.join(names[:-1])} and {names[-1]} only"
