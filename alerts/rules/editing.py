"""How people change rules, overrides, contacts and routes. Each function asks first whether this person may.

What could not work as it is described is refused by ValidationError (alerts.rules.checking).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext as _, ngettext

from alerts.models import AlarmEvent, Contact, Override, Route, RouteStep, Rule
from alerts.notices import undelivered
from alerts.rules import backtest, checking
from alerts.rules.backtest import Backtest
from alerts.services import require
from devices.errors import Refused
from devices.numbers import duration, number
from devices.services import Operator, Person

TURN = 0x1AE  # advisory: who edits takes turns, so that two changes do not close a ring together
DAYS_MOST = 30.0  # of readings that a back-test looks at

logger = logging.getLogger(__name__)


# ---- rules


@transaction.atomic
def save_rule(rule: Rule, by: Person, overrides: Sequence[Override] | None = None) -> Rule:
    """Save a new or changed rule; `overrides`, if given, are all that it has from now on."""
    require(by, "alerts.change_rule" if rule.pk else "alerts.add_rule")
    _turn()
    checking.check_rule(rule)
    kept = list(rule.overrides.select_related("channel__instrument")) if rule.pk else []
    wanted = kept if overrides is None else overrides
    for override in wanted:
        override.rule = rule
    checking.check_overrides(wanted)
    rule.save()
    if overrides is not None:
        _replace_overrides(rule, kept, overrides)
    logger.info("rule %s is saved by %s", rule, name_of(by))
    return rule


@transaction.atomic
def set_enabled(rule: Rule, by: Person, *, on: bool) -> None:
    """Switch a rule on or off, and look at nothing else of it."""
    require(by, "alerts.change_rule")
    Rule.objects.filter(pk=rule.pk).update(enabled=on)
    logger.info("rule %s is switched %s by %s", rule, "on" if on else "off", name_of(by))


@transaction.atomic
def delete_rule(rule: Rule, by: Person) -> None:
    """Delete a rule. Raises Refused for one that comes with Labsite, or whose alarms are in the journal."""
    require(by, "alerts.delete_rule")
    if reason := why_rule_stays(rule):
        raise Refused(reason)
    logger.info("rule %s is deleted by %s", rule, name_of(by))
    rule.delete()


def why_rule_stays(rule: Rule) -> str:
    """Why it cannot be deleted; empty if it can."""
    if rule.built_in:
        return _("“%s” comes with Labsite: it can be switched off, not deleted") % rule
    if AlarmEvent.objects.filter(alarm__rule=rule).exists():
        return _("“%s” has alarms in the journal, which stays: it can be switched off, not deleted") % rule
    return ""


@dataclass(frozen=True)
class Tried:
    """What came of a back-test."""

    days: float
    found: Backtest

    @property
    def summary(self) -> str:
        """In a sentence, such as: in the last 7 days this rule would have raised 14 alarms, …"""
        count = len(self.found.raised)
        words = {
            "days": _("day") if self.days == 1 else _("%(days)s days") % {"days": number(self.days)},
            "alarms": ngettext("%(count)d alarm", "%(count)d alarms", count) % {"count": count},
            "standing": duration(self.found.standing.total_seconds()),
        }
        if not count:
            return _("In the last %(days)s this rule would have raised no alarm.") % words
        return (
            _("In the last %(days)s this rule would have raised %(alarms)s, standing %(standing)s in all.")
            % words
        )


def back_test(rule: Rule, days: float, by: Person) -> Tried:
    """What a rule, saved or not, would have raised in the last days. Nothing is saved.

    Raises ValidationError for a rule that could not work, Refused for one that history cannot answer.
    """
    require(by, "alerts.change_rule")
    checking.check_rule(rule, is_tried=True)
    now = timezone.now()
    return Tried(days, backtest.run(rule, now - timedelta(days=days), now))


# ---- overrides: a part of their rule


@transaction.atomic
def save_override(override: Override, by: Person) -> Override:
    """Say what of a rule is otherwise for one of its channels."""
    require(by, "alerts.change_rule")
    checking.check_override(override)
    override.save()
    return override


@transaction.atomic
def delete_override(override: Override, by: Person) -> None:
    """From now on the channel is as its rule says."""
    require(by, "alerts.change_rule")
    override.delete()


def _replace_overrides(rule: Rule, kept: Sequence[Override], wanted: Sequence[Override]) -> None:
    numbers = {override.channel_id: override.pk for override in kept}
    rule.overrides.exclude(channel__in=[override.channel_id for override in wanted]).delete()
    for override in wanted:
        override.rule, override.pk = rule, numbers.get(override.channel_id)
        override.save()


# ---- contacts


@transaction.atomic
def save_contact(contact: Contact, by: Person) -> Contact:
    """Save somebody, or some place, that can be told something."""
    require(by, "alerts.change_contact" if contact.pk else "alerts.add_contact")
    _turn()
    checking.check_contact(contact)
    contact.save()
    if not contact.enabled:  # nothing is to arrive there any more
        undelivered.clear(contact.pk, timezone.now())
    logger.info("contact %s is saved by %s", contact, name_of(by))
    return contact


@transaction.atomic
def delete_contact(contact: Contact, by: Person) -> None:
    """Delete a contact with its notices. Raises Refused if a route would be left with nobody to tell."""
    require(by, "alerts.delete_contact")
    _turn()
    if reason := why_contact_stays(contact):
        raise Refused(reason)
    logger.info("contact %s is deleted by %s", contact, name_of(by))
    contact.delete()


def why_contact_stays(contact: Contact) -> str:
    """Why it cannot be deleted; empty if it can."""
    steps = RouteStep.objects.filter(route=OuterRef("pk"))
    others = steps.exclude(contact=contact)
    alone = Route.objects.filter(Exists(steps.filter(contact=contact)) & ~Exists(others)).first()
    return f"the route “{alone}” has no other contact than “{contact}”: change it first" if alone else ""


# ---- routes


@transaction.atomic
def save_route(route: Route, by: Person, steps: Sequence[RouteStep] | None = None) -> Route:
    """Save a new or changed route; `steps`, if given, are all that it has from now on."""
    require(by, "alerts.change_route" if route.pk else "alerts.add_route")
    _turn()
    checking.check_route(route)
    kept = list(route.steps.select_related("contact")) if route.pk else []
    checking.check_steps(kept if steps is None else steps)
    route.save()
    if steps is not None:
        _replace_steps(route, kept, steps)
    logger.info("route %s is saved by %s", route, name_of(by))
    return route


def _replace_steps(route: Route, kept: Sequence[RouteStep], wanted: Sequence[RouteStep]) -> None:
    """Those that stay as they are keep their place."""
    numbers = {(step.after, step.contact_id): step.pk for step in kept}
    for step in wanted:
        step.route, step.pk = route, numbers.pop((step.after, step.contact_id), None)
    route.steps.filter(pk__in=numbers.values()).delete()
    for step in wanted:
        step.save()


@transaction.atomic
def delete_route(route: Route, by: Person) -> None:
    """Delete a route; its notices stay."""
    require(by, "alerts.delete_route")
    logger.info("route %s is deleted by %s", route, name_of(by))
    route.delete()


def _turn() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [TURN])


def name_of(by: Person) -> str:
    """How a log calls a person."""
    return by.name if isinstance(by, Operator) else by.get_username()
