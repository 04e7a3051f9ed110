"""Filters of the lists of rules, alarms and notices."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as filters

from alerts.lifecycle import STANDING, State
from alerts.models import Alarm, Contact, Notice, NoticeKind, NoticeState, Priority, Route, Rule, RuleKind
from alerts.rules.scope import rules_of
from devices.filters import YesNo
from devices.models import Channel
from telemetry.filters import Since, Until

PRIORITIES = [(priority.name.lower(), priority.name.lower()) for priority in Priority]
NUMBER_MAX = 1 << 63


class Priorities(filters.MultipleChoiceFilter):
    """By word; given more than once, any of them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=PRIORITIES, **kwargs)

    def filter(self, qs: QuerySet[Any], value: list[str]) -> QuerySet[Any]:
        wanted = [Priority[word.upper()] for word in value]
        return qs.filter(priority__in=wanted) if wanted else qs


class OfChannel(filters.NumberFilter):
    """The rules that are of a channel, whatever they say of it: the channel's own, and all that match."""

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        if value is None:
            return qs
        known = (
            Channel.objects.select_related("instrument") if 0 < value < NUMBER_MAX else Channel.objects.none()
        )
        channel = known.filter(pk=int(value)).first()
        return qs.filter(pk__in=[rule.pk for rule in rules_of(channel)]) if channel else qs.none()


class RuleFilter(filters.FilterSet):
    name = filters.CharFilter()
    search = filters.CharFilter(field_name="name", lookup_expr="icontains", label="part of the name")
    kind = filters.MultipleChoiceFilter(choices=RuleKind.choices)
    driver = filters.CharFilter()
    priority = Priorities()
    enabled = YesNo()
    built_in = YesNo()
    channel = OfChannel(label="a channel's `id`: the rules that are of it")

    class Meta:
        model = Rule
        fields: ClassVar = ["name", "kind", "driver", "priority", "enabled", "built_in", "channel"]


class Standing(filters.ChoiceFilter):
    """Those that stand, unless others are asked for."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[(word, word) for word in ("true", "false", "any")], **kwargs)

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == "any" or (not value and self.parent.form.cleaned_data.get("state")):
            return qs
        return qs.exclude(state__in=STANDING) if value == "false" else qs.filter(state__in=STANDING)


class AlarmFilter(filters.FilterSet):
    state = filters.MultipleChoiceFilter(choices=State.choices)
    standing = Standing(label="`true` unless `state` is given; `any`: all there are")
    priority = Priorities()
    rule = filters.NumberFilter(field_name="rule_id")
    kind = filters.MultipleChoiceFilter(field_name="rule__kind", choices=RuleKind.choices)
    edge = filters.CharFilter(field_name="edge__name")
    instrument = filters.UUIDFilter(field_name="instrument_id")
    instrument_name = filters.CharFilter(field_name="instrument__name")
    channel = filters.NumberFilter(field_name="channel_id")
    cause = filters.NumberFilter(
        field_name="cause_id", label="the `id` of the alarm whose consequences they are"
    )

    class Meta:
        model = Alarm
        fields: ClassVar = [
            "state", "standing", "priority", "rule", "kind", "edge", "instrument", "instrument_name",
            "channel", "cause",
        ]  # fmt: skip

    @classmethod
    def get_filters(cls) -> dict[str, filters.Filter]:
        """With those of when it was last raised."""
        moments = {"from": Since(field_name="raised_at"), "to": Until(field_name="raised_at")}
        return {**super().get_filters(), **moments}


class ContactFilter(filters.FilterSet):
    name = filters.CharFilter()
    transport = filters.CharFilter()
    enabled = YesNo()

    class Meta:
        model = Contact
        fields: ClassVar = ["name", "transport", "enabled"]


class RouteFilter(filters.FilterSet):
    name = filters.CharFilter()
    enabled = YesNo()
    contact = filters.NumberFilter(field_name="steps__contact_id", distinct=True)

    class Meta:
        model = Route
        fields: ClassVar = ["name", "enabled", "contact"]


class NoticeFilter(filters.FilterSet):
    contact = filters.NumberFilter(field_name="contact_id")
    route = filters.NumberFilter(field_name="route_id")
    kind = filters.MultipleChoiceFilter(choices=NoticeKind.choices)
    state = filters.MultipleChoiceFilter(choices=NoticeState.choices)
    alarm = filters.NumberFilter(field_name="lines__alarm_id", distinct=True)

    class Meta:
        model = Notice
        fields: ClassVar = ["contact", "route", "kind", "state", "alarm"]

    @classmethod
    def get_filters(cls) -> dict[str, filters.Filter]:
        """With those whose names are Python's own words."""
        moments = {"from": Since(field_name="created_at"), "to": Until(field_name="created_at")}
        return {**super().get_filters(), **moments}
