"""What a rule asks of one channel, overrides included, in the words of the pages."""

from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from alerts.models import Alarm, Override, Rule, RuleKind
from devices import numbers
from labsite.pages.beside import word


def limits(alarm: Alarm, override: Override | None) -> list[tuple[str, str]]:
    """Name and value of each part of the rule that is not empty."""
    return [(name, text) for name, text in _parts(alarm, override) if text]


def _parts(alarm: Alarm, override: Override | None) -> Iterator[tuple[str, str]]:
    rule = alarm.rule
    yield _("Rule"), rule.name
    yield _("Looks for"), rule.get_kind_display()
    yield from _of_values(alarm, override)
    yield _for_seconds(rule.kind), _time(_said("seconds", rule, override))
    yield _("Event"), rule.event_kind.replace("_", " ")
    yield _("Text within the event"), rule.event_text
    yield _("Raised after"), _time(_said("on_delay", rule, override))
    yield _("Cleared after"), _time(_said("off_delay", rule, override))
    yield _("Latches"), _("stands until it is reset") if rule.latch else ""
    yield _("Suppressed by"), rule.suppressed_by.name if rule.suppressed_by else ""
    yield _("Suppressed while a run is"), ", ".join(word(state) for state in rule.suppressed_in)
    yield _("Only here"), _("this channel has limits of its own") if override else ""


def _of_values(alarm: Alarm, override: Override | None) -> Iterator[tuple[str, str]]:
    rule, channel = alarm.rule, alarm.channel
    unit = numbers.unit(channel.unit) if channel else ""
    per = _("per minute") if rule.kind == RuleKind.RATE else ""
    for name, label in (("high", _("High limit")), ("low", _("Low limit")), ("deadband", _("Dead-band"))):
        value = _said(name, rule, override)
        is_told = value is not None and (value or name != "deadband")
        yield label, f"{numbers.number(value)} {unit} {per}".strip() if is_told else ""
    yield _("Value"), _said("value", rule, override) or ""


def _said(name: str, rule: Rule, override: Override | None) -> Any:
    """What the override says, else the rule."""
    own = getattr(override, name, None)
    return getattr(rule, name) if own in (None, "") else own


def _for_seconds(kind: str) -> str:
    words = {
        RuleKind.STALE: _("Without a value for"),
        RuleKind.EDGE_SILENT: _("Nothing heard for"),
        RuleKind.NO_PROGRESS: _("No progress for"),
        RuleKind.RATE: _("Measured over"),
    }
    return words.get(RuleKind(kind), _("For"))


def _time(seconds: float | None) -> str:
    return numbers.interval(seconds) if seconds else ""
