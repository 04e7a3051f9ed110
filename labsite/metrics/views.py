"""The doors for Prometheus, `/metrics` and its two halves: for tokens, logins and networks that are named."""

from ipaddress import ip_address
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

from devices.filters import check_parameters
from devices.models import Instrument
from devices.permissions import ReadOrStaff
from labsite.metrics.families import Collector, written
from labsite.metrics.instruments import Instruments
from labsite.metrics.own import Own

FILTERS = {"instrument": "name", "edge": "edge__name", "driver": "driver", "tag": "tags__contains"}


class ByLoginOrNetwork(ReadOrStaff):
    """Whoever may read may scrape, and so may those networks that the administrator names."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return is_open_to(request.META.get("REMOTE_ADDR", "")) or super().has_permission(request, view)


def is_open_to(address: str) -> bool:
    """Whether LABSITE_METRICS_NETWORKS names a network that this address is in."""
    try:
        peer = ip_address(address)
    except ValueError:
        return False
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in settings.METRICS_NETWORKS)


class AnyAccept(BaseContentNegotiation):
    """What is accepted is for the exposition's encoder to judge; errors are JSON."""

    def select_parser(self, request: Request, parsers: Any) -> Any:  # noqa: ARG002
        return next(iter(parsers), None)

    def select_renderer(self, *_: Any, **__: Any) -> tuple[BaseRenderer, str]:
        return JSONRenderer(), JSONRenderer.media_type


class Metrics(APIView):
    """Figures of Labsite itself and of all instruments, as Prometheus or OpenMetrics text."""

    permission_classes = (ByLoginOrNetwork,)
    content_negotiation_class = AnyAccept
    parameters: tuple[str, ...] = tuple(FILTERS)

    @extend_schema(
        responses={(200, "text/plain"): OpenApiTypes.STR},
        parameters=[
            OpenApiParameter(name, str, description=f"Only instruments of this {name}") for name in FILTERS
        ],
    )
    def get(self, request: Request) -> HttpResponse:
        check_parameters(request, self.parameters)
        content, content_type = written(self.collectors(request), request.headers.get("Accept", ""))
        return HttpResponse(content, content_type=content_type)

    def collectors(self, request: Request) -> list[Collector]:
        at = timezone.now()
        return [Own(at), Instruments(asked(request), at)]


class OwnMetrics(Metrics):
    """Figures of Labsite itself."""

    parameters = ()

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        return super().get(request)

    def collectors(self, request: Request) -> list[Collector]:  # noqa: ARG002
        return [Own(timezone.now())]


class InstrumentMetrics(Metrics):
    """Figures of the instruments."""

    def collectors(self, request: Request) -> list[Collector]:
        return [Instruments(asked(request), timezone.now())]


def asked(request: Request) -> QuerySet[Instrument]:
    """The instruments that the question names; all if it names none. Raises ValidationError."""
    found = Instrument.objects.filter(retired_at=None)
    for name, lookup in FILTERS.items():
        if values := request.query_params.getlist(name):
            if len(values) > 1:
                raise ValidationError({name: ["It is given more than once."]})
            found = found.filter(**{lookup: values if name == "tag" else values[0]})
    return found
