"""What an alarm is called: instrument, what is wrong, limit: `UPS rack A input voltage below 180 V`."""

from django.utils.translation import gettext as _

from alerts.judging.rulebook import Watch
from alerts.models import Rule, RuleKind
from devices import numbers

LENGTH = 400


def of_watch(watch: Watch, instrument: str) -> str:
    """Of a rule on a channel; what the rule says itself is used where a limit says too little."""
    place = watch.place
    unit = numbers.unit(place.unit)

    def limit(value: float | None, more: str = "") -> str:
        return f"{numbers.number(value, place.digits)} {unit}{more}".strip()

    words = {
        RuleKind.HIGH: lambda: _("above %s") % limit(watch.high),
        RuleKind.LOW: lambda: _("below %s") % limit(watch.low),
        RuleKind.OUTSIDE: lambda: (
            _("outside %(low)s to %(high)s") % {"low": limit(watch.low), "high": limit(watch.high)}
        ),
        RuleKind.EQUALS: lambda: _("is %s") % watch.value,
        RuleKind.DIFFERS: lambda: _("is not %s") % watch.value,
        RuleKind.RATE: lambda: _("changes faster than %s") % limit(watch.high, "/min"),
        RuleKind.STALE: lambda: _("is missing or not valid"),
    }
    return f"{instrument} {place.label} {words[RuleKind(watch.rule.kind)]()}"[:LENGTH]


def of_instrument(rule: Rule, instrument: str, what: str = "") -> str:
    """Of a rule on a whole instrument; `what`: the words of an event or the name of a run."""
    if rule.kind == RuleKind.NOT_CONNECTED:
        return _("%s is not connected") % instrument
    if rule.kind == RuleKind.NO_PROGRESS:
        return (_("%(instrument)s makes no progress: %(run)s") % {"instrument": instrument, "run": what})[
            :LENGTH
        ]
    return f"{instrument}: {what or rule.name}"[:LENGTH]


def of_edge(edge: str) -> str:
    return _("Edge %s is silent") % edge
