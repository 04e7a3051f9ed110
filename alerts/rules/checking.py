"""What rules, overrides, contacts and routes must be like, so that they can work. Nothing is saved here.

Each `check_` raises ValidationError, by field and in words; each `wrong_` yields a field and the words.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from functools import cache
from itertools import chain
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import models

from alerts.judging.rulebook import OF_CHANNELS
from alerts.models import Contact, Override, Route, RouteStep, Rule
from alerts.rules import kinds
from alerts.rules.kinds import Wrong, is_given, too_long
from alerts.rules.scope import watches
from devices import drivers
from devices.drivers.base import SECRET_NAME, UNSTORABLE
from devices.models import tag as tag_form
from devices.secrets import RESERVED

# !id or #alias of a room, @name of a person, and their server; ids of new rooms have none.
MATRIX = re.compile(r"[!#@][^\s:]+:[^\s:]+(:\d+)?|![\w-]{43}")
OVERRIDDEN = ("low", "high", "value", "deadband", "seconds", "on_delay", "off_delay", "priority")


# ---- rules


def check_rule(rule: Rule, *, is_tried: bool = False) -> None:
    """Raises ValidationError. A rule that is only tried needs no name."""
    _clean(rule, exclude=["name"] if is_tried else ())
    raise_wrong(
        chain(
            kinds.wrong_fields(rule),
            kinds.wrong_limits(rule),
            kinds.wrong_scope(rule),
            _wrong_words(rule),
            _wrong_kind(rule),
            _ring(rule, "suppressed_by"),
        )
    )


def _wrong_words(rule: Rule) -> Wrong:
    if rule.driver and rule.driver not in drivers.names():
        yield "driver", f"no driver {rule.driver!r}; there are {', '.join(drivers.names())}"
    if rule.tag:
        yield from _wrong_tags("tag", [rule.tag])


def _wrong_kind(rule: Rule) -> Wrong:
    """Alarms remember by the kind of their rule."""
    before = Rule.objects.filter(pk=rule.pk).first()
    if before is None or before.kind == rule.kind:
        return
    if before.built_in:
        yield "kind", "this rule comes with Labsite: it keeps its kind"
    elif before.alarms.exists():
        yield (
            "kind",
            "there are alarms of this rule already: make another rule of that kind",
        )


def check_override(override: Override) -> None:
    """Raises ValidationError."""
    _clean(override)
    raise_wrong(wrong_override(override))


def wrong_override(override: Override) -> Wrong:
    """What contradicts the rule, as it is now in memory, or the channel."""
    rule, label = override.rule, override.rule.get_kind_display()
    if rule.kind not in OF_CHANNELS:
        yield "channel", f"a rule of kind “{label}” is not of channels"
        return
    if not watches(rule, override.channel):
        yield "channel", f"“{rule}” is not of this channel"
        return
    merged = copy(rule)
    for name in OVERRIDDEN:
        value = getattr(override, name)
        if not is_given(value):
            continue
        if name in (*kinds.BY_KIND, "deadband") and not kinds.takes(rule.kind, name):
            yield name, f"a rule of kind “{label}” does not use it: leave it empty"
        elif name not in ("low", "high") and isinstance(value, float) and value < 0:
            yield name, "it is less than 0"
        setattr(merged, name, value)
    yield from kinds.wrong_limits(merged)
    yield from kinds.wrong_channel(merged, override.channel.kind)


def check_overrides(wanted: Sequence[Override]) -> None:
    """All overrides of a rule, which is to be saved with them. Raises ValidationError of `overrides`."""
    found = []
    for override in wanted:
        found += [f"{override.channel}: {name}: {words}" for name, words in _wrong_whole(override)]
    channels = Counter(override.channel_id for override in wanted)
    found += [f"{each.channel}: it has more than one" for each in wanted if channels[each.channel_id] > 1][:1]
    if found:
        raise ValidationError({"overrides": found})


def _wrong_whole(override: Override) -> Wrong:
    try:
        _clean(override, exclude=["rule"])
    except ValidationError as error:
        yield from ((name, "; ".join(words)) for name, words in error.message_dict.items())
    else:
        yield from wrong_override(override)


# ---- contacts


def check_contact(contact: Contact) -> None:
    """Raises ValidationError."""
    _clean(contact)
    raise_wrong(chain(_wrong_place(contact), _ring(contact, "next")))


def _wrong_place(contact: Contact) -> Wrong:
    if contact.secret and not SECRET_NAME.fullmatch(contact.secret):
        # Not said again: a person may have written the password itself.
        yield "secret", "only its name belongs here: capitals, digits and underscores, such as MAIL_1"
    elif contact.secret in RESERVED:
        yield "secret", f"LABSITE_SECRET_{contact.secret} is Labsite's own: name another one"
    if contact.transport not in TRANSPORTS:
        yield "transport", f"no transport {contact.transport!r}; there are {', '.join(TRANSPORTS)}"
        return
    yield from TRANSPORTS[contact.transport](contact)


def _wrong_room(contact: Contact) -> Wrong:
    if not MATRIX.fullmatch(contact.address):
        yield "address", "a Matrix room or user is needed: !id:server, #alias:server or @user:server"


def _wrong_mail(contact: Contact) -> Wrong:
    try:
        validate_email(contact.address)
    except ValidationError:
        yield "address", "an e-mail address is needed, such as lab@example.org"


def _wrong_hook(contact: Contact) -> Wrong:
    try:
        url = urlsplit(contact.address)
        is_url = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_url = False
    if not is_url or re.search(r"\s", contact.address):
        yield "address", "a URL is needed, such as https://example.org/alarms"
    elif "@" in url.netloc:
        yield "address", "no name and no password in the URL: they would be stored readably"


def _wrong_apprise(contact: Contact) -> Wrong:
    if not contact.secret:
        yield "secret", "the name of the secret that holds the Apprise URL is needed"


TRANSPORTS: Mapping[str, Callable[[Contact], Wrong]] = {
    "matrix": _wrong_room,
    "email": _wrong_mail,
    "webhook": _wrong_hook,
    "apprise": _wrong_apprise,
}


# ---- routes


def check_route(route: Route) -> None:
    """Raises ValidationError. The steps are looked at by `check_steps`."""
    _clean(route)
    raise_wrong(chain(_wrong_times(route), _wrong_tags("tags", route.tags), _wrong_choice(route)))


def _wrong_times(route: Route) -> Wrong:
    if any(not 0 <= day <= 6 for day in route.days):
        yield "days", "a day is a number from 0, Monday, to 6, Sunday"
    if (route.start is None) != (route.end is None):
        yield "end" if route.end is None else "start", "working hours need both: from when and to when"
    elif route.start is not None and route.start == route.end:
        yield "end", "it is the same as the beginning: leave both empty for the whole day"
    if route.zone not in _zones():
        yield "zone", f"no time zone {route.zone!r}; one is named like Europe/Berlin"
    yield from too_long(route, ("window", "repeat"))


def _wrong_choice(route: Route) -> Wrong:
    if not (route.alarms or route.happenings or route.daily):
        yield "alarms", "this route would never tell anything: alarms, kinds of events or a daily word"


def _wrong_tags(field: str, tags: Iterable[str]) -> Wrong:
    for tag in tags:
        try:
            tag_form(tag)
        except ValidationError as error:
            yield field, f"{tag!r}: {error.messages[0]}"


def check_steps(steps: Sequence[RouteStep]) -> None:
    """Raises ValidationError of `steps`."""
    found = [] if steps else ["a route needs at least one contact"]
    for step in steps:
        try:
            _clean(step, exclude=["route"])
        except ValidationError as error:
            found += [f"{name}: {'; '.join(words)}" for name, words in error.message_dict.items()]
        else:
            found += [words for _name, words in too_long(step, ("after",))]
    if len({(step.after, step.contact_id) for step in steps}) < len(steps):
        found.append("the same contact is there twice for the same time")
    if found:
        raise ValidationError({"steps": found})


# ---- of any row


def raise_wrong(found: Wrong) -> None:
    """Raises ValidationError, if there is anything."""
    errors: dict[str, list[str]] = {}
    for field, words in found:
        errors.setdefault(field, []).append(words)
    if errors:
        raise ValidationError(errors)


def _clean(row: models.Model, exclude: Iterable[str] = ()) -> None:
    """Django's own checks, and those for what a database or arithmetic would choke on."""
    raise_wrong(
        (name, "it holds characters that cannot be stored")
        for name, value in vars(row).items()
        if _is_unstorable(value)
    )
    row.full_clean(exclude=set(exclude))
    raise_wrong(
        (name, "a finite number is needed")
        for name, value in vars(row).items()
        if isinstance(value, float) and not math.isfinite(value)
    )


def _is_unstorable(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_unstorable(each) for each in value)
    return isinstance(value, str) and bool(UNSTORABLE.search(value))


def _ring(row: Any, name: str) -> Wrong:
    """Whether one comes back to the row by following this reference."""
    seen, at = {row.pk}, getattr(row, name)
    while at is not None:
        if at is row or at.pk in seen:
            yield name, f"it would come back to itself: “{at}”"
            return
        seen.add(at.pk)
        at = getattr(at, name)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
