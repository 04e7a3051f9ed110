"""The rules that a driver proposes: whether they can work with the channels that it has."""

import math
from collections import Counter
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from devices.drivers.base import PRIORITIES, RULE_KINDS, Channel, RuleTemplate
from devices.readings import RUN_STATES

NAME_LENGTH = 120  # of the centre's column
NEEDS: dict[str, tuple[str, ...]] = {
    "high": ("high",),
    "low": ("low",),
    "outside": ("low", "high"),
    "rate": ("high", "seconds"),
    "equals": ("value",),
    "differs": ("value",),
    "event": ("event_kind",),
    "no_progress": ("seconds",),
}
LIMITED = ("high", "low", "outside", "rate")
OF_CHANNELS = (*LIMITED, "equals", "differs")


def template_faults(templates: Collection[RuleTemplate], channels: Collection[Channel]) -> Iterator[str]:
    """All that is wrong, each with the rule's name before it."""
    names = Counter(template.name for template in templates)
    yield from (f"rule {name!r} twice" for name, count in names.items() if count > 1)
    for template in templates:
        words = [*_words(template, names), *_numbers(template), *_channels(template, channels)]
        yield from (f"rule {template.name!r}: {word}" for word in words)


def _words(template: RuleTemplate, names: Collection[str]) -> Iterator[str]:
    if not template.name.strip() or len(template.name) > NAME_LENGTH:
        yield f"its name is not of 1 to {NAME_LENGTH} characters"
    if not template.guidance.strip():
        yield "it does not say what to do"
    if template.kind not in RULE_KINDS:
        yield f"kind {template.kind!r} is none of {', '.join(RULE_KINDS)}"
    if template.priority not in PRIORITIES:
        yield f"priority {template.priority!r} is none of {', '.join(PRIORITIES)}"
    if template.suppressed_by and template.suppressed_by not in set(names) - {template.name}:
        yield f"suppressed_by {template.suppressed_by!r} is no other of its rules"
    if unknown := sorted(set(template.suppressed_in) - set(RUN_STATES)):
        yield f"suppressed_in {unknown[0]!r} is none of {', '.join(RUN_STATES)}"


def _numbers(template: RuleTemplate) -> Iterator[str]:
    needed = NEEDS.get(template.kind, ())
    for name in ("low", "high", "value", "seconds", "event_kind"):
        given = getattr(template, name) not in (None, "")
        if given != (name in needed):
            yield f"a rule of kind {template.kind} {'has no' if given else 'needs'} {name}"
    given_numbers = (template.low, template.high, template.seconds, template.deadband)
    numbers = [number for number in given_numbers if number is not None]
    if not all(map(math.isfinite, numbers)):
        yield "its limits are not finite"
    if template.low is not None and template.high is not None and template.low >= template.high:
        yield f"low {template.low:g} is not below high {template.high:g}"
    if min(template.deadband, template.on_delay, template.off_delay, template.seconds or 0.0) < 0:
        yield "dead-band and times are not negative"
    if template.deadband and template.kind not in LIMITED:
        yield f"a rule of kind {template.kind} has no deadband"


def _channels(template: RuleTemplate, channels: Collection[Channel]) -> Iterator[str]:
    """A limit is one number: what it is held against has one unit."""
    if template.kind not in OF_CHANNELS:
        if template.key:
            yield f"a rule of kind {template.kind} is of no channel"
        return
    pattern = (template.key or "*").replace("[", "[[]")  # only * and ? are wildcards
    found = [channel for channel in channels if fnmatchcase(channel.key, pattern)]
    if not found:
        yield f"no channel has the key {template.key!r}"
    fit = ("float", "int") if template.kind in LIMITED else ("float", "int", "bool", "text")
    for channel in found:
        if channel.kind not in fit:
            yield f"channel {channel.key} is of kind {channel.kind}"
    units = sorted({channel.unit for channel in found})
    if template.kind in LIMITED and len(units) > 1:
        yield f"its channels have several units: {', '.join(units)}"
