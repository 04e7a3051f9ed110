"""The rules that an instrument's driver proposes, as long as they are not there yet."""

from collections.abc import Collection
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db import transaction

from alerts.judging import naming, rulebook
from alerts.models import Priority, Rule
from alerts.rules import editing
from alerts.services import require
from devices import drivers
from devices.drivers.base import RuleTemplate
from devices.errors import ConfigurationError
from devices.models import Instrument
from devices.services import Person

TAKEN = ("kind", "guidance", "key", "tag", "low", "high", "value", "deadband", "seconds", "event_kind",
         "event_text", "on_delay", "off_delay", "latch")  # fmt: skip


class Subject(NamedTuple):
    """What tells whether a rule is there already: its limits and its name may have been changed since."""

    kind: str
    key: str
    event_kind: str


def proposed(instrument: Instrument) -> list[Rule]:
    """Rules that could be added, unsaved: each of all instruments with this driver."""
    there = {_subject(rule) for rule in Rule.objects.filter(driver=instrument.driver)}
    missing = [each for each in templates_of(instrument.driver) if _subject(each) not in there]
    rules = [rule_of(template, instrument.driver) for template in missing]
    return [rule for rule in rules if alarms_of(rule, instrument)]  # not each has all channels of its driver


def accept(instrument: Instrument, names: Collection[str] | None, by: Person) -> list[Rule]:
    """Add those of the proposed rules (None: all); what is there already is left as it is.

    Raises ValidationError of `names` for one that the driver does not propose at all.
    """
    require(by, "alerts.add_rule")
    templates = templates_of(instrument.driver)
    if unknown := sorted(set(names or ()) - {template.name for template in templates}):
        raise ValidationError({"names": f"no rule {unknown[0]!r} is proposed for {instrument}"})
    with transaction.atomic():
        chosen = {rule.name for rule in proposed(instrument) if names is None or rule.name in names}
        wanted = [template for template in templates if template.name in chosen]
        return [_saved(template, instrument.driver, by) for template in _causes_first(wanted)]


def alarms_of(rule: Rule, instrument: Instrument) -> list[str]:
    """What the alarms of a rule would be called at this instrument; a tag that it needs left aside."""
    if rule.kind not in rulebook.OF_CHANNELS:
        return [naming.of_instrument(rule, instrument.name)]
    watches = [
        rulebook.watch(rule, place, instrument.interval)
        for place in _places(instrument)
        if place.kind != "vector" and rulebook.watches_channel(rule, place)
    ]
    return [naming.of_watch(watch, instrument.name) for watch in watches]


def _places(instrument: Instrument) -> list[rulebook.Place]:
    columns = ("pk", "instrument_id", "key", "label", "unit", "kind", "digits")
    return [rulebook.Place(*row) for row in instrument.channels.values_list(*columns)]


def templates_of(driver: str) -> tuple[RuleTemplate, ...]:
    """None, if the driver cannot be loaded."""
    try:
        return drivers.load(driver).alarms
    except ConfigurationError:
        return ()


def rule_of(template: RuleTemplate, driver: str) -> Rule:
    """The rule that a template describes, unsaved; its cause is found when it is added."""
    return Rule(
        name=template.name,
        driver=driver,
        priority=Priority[template.priority.upper()],
        suppressed_in=list(template.suppressed_in),
        **{name: getattr(template, name) for name in TAKEN},
    )


def _subject(of: RuleTemplate | Rule) -> Subject:
    return Subject(of.kind, of.key, of.event_kind)


def _causes_first(templates: Collection[RuleTemplate]) -> list[RuleTemplate]:
    """A rule that is suppressed by another after that one."""
    ordered: list[RuleTemplate] = []
    left = list(templates)
    while left:
        names = {template.name for template in left}
        ready = [template for template in left if template.suppressed_by not in names] or left
        ordered += ready
        left = [template for template in left if template not in ready]
    return ordered


def _saved(template: RuleTemplate, driver: str, by: Person) -> Rule:
    rule = rule_of(template, driver)
    if Rule.objects.filter(name=rule.name).exists():
        rule.name = f"{rule.name} ({driver})"
    causes = {each.name: _subject(each) for each in templates_of(driver)}
    if cause := causes.get(template.suppressed_by):
        of_driver = Rule.objects.filter(driver=driver, **cause._asdict())
        rule.suppressed_by = of_driver.first()
    return editing.save_rule(rule, by)
