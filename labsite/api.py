"""The API: all apps' routes under /api/v1/, and how what goes wrong is answered."""

import re
from typing import Any

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.core.exceptions import ValidationError
from django.urls import URLPattern, URLResolver, path, re_path, reverse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import serializers, status as codes
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter
from rest_framework.serializers import as_serializer_error
from rest_framework.views import APIView, exception_handler

from alerts import api as alerts_api
from devices import api as devices_api
from devices.errors import ConfigurationError, Refused
from labsite import health, status
from labsite.push import PushView
from telemetry import api as telemetry_api


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler: a refusal is 409, what cannot work as it was given is 400 naming the field."""
    if isinstance(error, Refused):
        return Response({"detail": str(error)}, codes.HTTP_409_CONFLICT)
    if isinstance(error, ValidationError):
        return Response(as_serializer_error(error), codes.HTTP_400_BAD_REQUEST)
    if isinstance(error, ConfigurationError):
        return Response(named(str(error)), codes.HTTP_400_BAD_REQUEST)
    return exception_handler(error, context)


def named(message: str) -> dict[str, Any]:
    """An instrument's configuration error under the field it speaks of, which it begins with."""
    if found := re.match(r"option (\w+)", message):
        return {"options": {found[1]: [message]}}
    field = message.split(" ", 1)[0]
    return {field if field in ("address", "driver") else "options": [message]}


class HealthSerializer(serializers.Serializer[Any]):
    process = serializers.BooleanField()
    database = serializers.BooleanField()
    broker = serializers.BooleanField()


class HealthView(APIView):
    """Whether this process reaches its database and its broker: 200 if so, else 503. Open to all."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(responses={200: HealthSerializer, 503: HealthSerializer}, auth=[])
    def get(self, request: Request) -> Response:  # noqa: ARG002
        verdict = health.check()
        code = codes.HTTP_200_OK if all(verdict.values()) else codes.HTTP_503_SERVICE_UNAVAILABLE
        return Response(verdict, code)


class StatusView(APIView):
    """How the processes of the centre, the edges, the ingest and the disk are doing."""

    @extend_schema(responses=status.StatusSerializer)
    def get(self, request: Request) -> Response:  # noqa: ARG002
        return Response(status.StatusSerializer(status.now()).data)


class Elsewhere(APIView):
    """Programs are told in their own way, too, that there is nothing at an address."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound(f"There is nothing at {request.path}; all that there is: {reverse('docs')}")


# The page of the documentation styles itself and shows pictures out of its style sheet.
docs = csp_update({"style-src": [SELF, UNSAFE_INLINE], "img-src": [SELF, "data:"]})(
    SpectacularSwaggerSplitView.as_view(url_name="schema")
)

router = SimpleRouter()
devices_api.register(router)
telemetry_api.register(router)
alerts_api.register(router)

urlpatterns: list[URLPattern | URLResolver] = [
    path("health/", HealthView.as_view(), name="health"),
    path("readings/", PushView.as_view(), name="push"),
    path("status/", StatusView.as_view(), name="status"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path("docs/", docs, name="docs"),
    *router.urls,
    re_path(r"^(?:.*/)?$", Elsewhere.as_view()),  # without the last / it is still redirected to that
]
