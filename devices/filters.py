"""Filters of the API's lists. A parameter that means nothing is refused: a typing error must not list all."""

import difflib
from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from devices.models import Channel, Edge, Instrument, Latest

ALWAYS_KNOWN = frozenset({"format"})
OF_PAGES = ("cursor", "page_size")


class KnownParameters(filters.DjangoFilterBackend):
    """django-filter's backend, but an unknown parameter is an error that names it."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        filterset_class = self.get_filterset_class(view, queryset)
        of_rows = filterset_class.base_filters if filterset_class else ()
        check_parameters(request, (*of_rows, *OF_PAGES))
        return super().filter_queryset(request, queryset, view)  # type: ignore[no-any-return]


def check_parameters(request: Request, known: Any) -> None:
    """Raises ValidationError naming the first parameter that is not known here."""
    allowed = ALWAYS_KNOWN | set(known)
    for name in request.query_params:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(allowed))}"
            raise ValidationError({name: [f"There is no such parameter here{hint}"]})


class YesNo(filters.ChoiceFilter):
    """`true` or `false`, and nothing else (django-filter's own takes any other word for no answer)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[("true", "true"), ("false", "false")], **kwargs)

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        return super().filter(qs, {"true": True, "false": False}.get(value, value))  # type: ignore[no-any-return]


class Retired(YesNo):
    """Lists what is not retired, unless asked for the retired."""

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        return qs.filter(retired_at__isnull=value != "true")


class Tagged(filters.CharFilter):
    """Lists those that have this tag among theirs."""

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        return qs.filter(**{f"{self.field_name}__contains": [value]}) if value else qs


class EdgeFilter(filters.FilterSet):
    name = filters.CharFilter()
    retired = Retired(field_name="retired_at")

    class Meta:
        model = Edge
        fields: ClassVar = ["name", "retired"]


class InstrumentFilter(filters.FilterSet):
    name = filters.CharFilter()
    search = filters.CharFilter(field_name="name", lookup_expr="icontains", label="part of the name")
    driver = filters.CharFilter()
    edge = filters.CharFilter(field_name="edge__name")
    tag = Tagged(field_name="tags", label="one of its tags")
    in_service = YesNo()
    demo = YesNo()
    retired = Retired(field_name="retired_at")

    class Meta:
        model = Instrument
        fields: ClassVar = ["name", "driver", "edge", "tag", "in_service", "demo", "retired"]


class ChannelFilter(filters.FilterSet):
    instrument = filters.UUIDFilter(field_name="instrument_id")
    instrument_name = filters.CharFilter(field_name="instrument__name")
    edge = filters.CharFilter(field_name="instrument__edge__name")
    key = filters.CharFilter()

    class Meta:
        model = Channel
        fields: ClassVar = ["instrument", "instrument_name", "edge", "key"]


class LatestFilter(filters.FilterSet):
    channel = filters.NumberFilter(field_name="channel_id")
    instrument = filters.UUIDFilter(field_name="channel__instrument_id")
    instrument_name = filters.CharFilter(field_name="channel__instrument__name")
    edge = filters.CharFilter(field_name="channel__instrument__edge__name")
    tag = Tagged(field_name="channel__instrument__tags", label="one of its instrument's tags")
    key = filters.CharFilter(field_name="channel__key")
    stored_after = filters.IsoDateTimeFilter(field_name="stored_at", lookup_expr="gt")

    class Meta:
        model = Latest
        fields: ClassVar = ["channel", "instrument", "instrument_name", "edge", "tag", "key", "stored_after"]
