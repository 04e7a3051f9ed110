"""Filters of the lists of what happened."""

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters

from devices.models import Run
from devices.readings import RUN_ENDED, RUN_STATES
from telemetry import history
from telemetry.models import Event
from telemetry.parameters import TIMES, moment_of


class MomentField(forms.Field):
    def to_python(self, value: str | None) -> datetime | None:
        if not value:
            return None
        try:
            return moment_of(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class Moment(filters.Filter):
    """A time, as `moment_of` reads it."""

    field_class = MomentField

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(help_text=TIMES, **kwargs)


class Since(Moment):
    """Not before this time."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        return qs if value is None else qs.filter(**{f"{self.field_name}__gte": value})


class Until(Moment):
    """Before this time."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        return qs if value is None else qs.filter(**{f"{self.field_name}__lt": value})


class EndsSince(Moment):
    """Runs that were not over before this time."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        if value is None:
            return qs
        goes_on = Q(end=None) & ~Q(state__in=RUN_ENDED)
        return qs.filter(Q(end__gte=value) | goes_on | Q(end=None, told_at__gte=value))


class OfRun(filters.NumberFilter):
    """The events of a run's time."""

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        if value is None:
            return qs
        run = Run.objects.filter(pk=int(value)).first() if 0 < value < 1 << 63 else None
        return qs.none() if run is None else history.within(qs, run)


class EventFilter(filters.FilterSet):
    instrument = filters.UUIDFilter(field_name="instrument_id")
    instrument_name = filters.CharFilter(field_name="instrument__name")
    kind = filters.CharFilter()
    run = OfRun(label="a run's `id`: the events of its time")

    class Meta:
        model = Event
        fields: ClassVar = ["instrument", "instrument_name", "kind", "run"]

    @classmethod
    def get_filters(cls) -> dict[str, filters.Filter]:
        """With those whose names are Python's own words."""
        moments = {"from": Since(field_name="time"), "to": Until(field_name="time")}
        return {**super().get_filters(), **moments}


class RunFilter(filters.FilterSet):
    instrument = filters.UUIDFilter(field_name="instrument_id")
    instrument_name = filters.CharFilter(field_name="instrument__name")
    kind = filters.CharFilter()
    state = filters.ChoiceFilter(choices=[(state, state) for state in RUN_STATES])

    class Meta:
        model = Run
        fields: ClassVar = ["instrument", "instrument_name", "kind", "state"]

    @classmethod
    def get_filters(cls) -> dict[str, filters.Filter]:
        """With those of runs that went on at any time from … to."""
        return {**super().get_filters(), "from": EndsSince(field_name="end"), "to": Until(field_name="start")}
