"""The doors of the replaced programs: `/replaced/<instrument>/…`, and the paths of a port of its own.

Closed, unless the administrator opened it: then it answers without a login, as the program did.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.text import slugify
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.throttling import UserRateThrottle
from rest_framework.views import APIView

from devices.permissions import ReadOrStaff
from labsite.replaced import metatron, thermostat, ups
from labsite.replaced.program import Call, Program
from telemetry.models import ReplacedInterface

PROGRAMS: Mapping[str, Program] = {
    ReplacedInterface.Kind.THERMOSTAT: thermostat.PROGRAM,
    ReplacedInterface.Kind.UPS: ups.PROGRAM,
    ReplacedInterface.Kind.METATRON: metatron.PROGRAM,
}


class AsItComes(BaseContentNegotiation):
    """The programs answered in one form, whatever a client said it takes."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:  # noqa: ARG002
        return renderers[0], renderers[0].media_type


class Throttle(UserRateThrottle):
    scope = "replaced"
    rate = "50/second"


class OpenOrLogin(ReadOrStaff):
    """An open interface answers everybody; whoever has a login may what the login allows."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.user and request.user.is_authenticated:
            return super().has_permission(request, view)
        interface: ReplacedInterface | None = view.interface
        return interface is not None and (interface.open or view.is_preflight(request))


@extend_schema(exclude=True)
class Door(APIView):
    """One interface. Any method comes here: how one is refused is the program's, too."""

    permission_classes = (OpenOrLogin,)
    throttle_classes = (Throttle,)
    content_negotiation_class = AsItComes
    interface: ReplacedInterface | None = None
    path = ""

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.interface, self.path = found(kwargs["instrument"], kwargs["path"])

    @property
    def program(self) -> Program | None:
        return None if self.interface is None else PROGRAMS[self.interface.kind]

    def is_preflight(self, request: Request) -> bool:
        """A browser asks so before it sends what it has; nothing comes with it that says who asks."""
        return request.method == "OPTIONS" and self.program is not None and self.program.preflight is not None

    def respond(self, request: Request, **_: Any) -> HttpResponseBase:
        if self.interface is None or self.program is None:
            raise NotFound
        try:
            return self.program.answer(Call(self.interface, self.path, request, timezone.now()))
        except Exception as error:
            reply = self.program.failed(error)
            if reply is None:
                raise
            return reply

    get = head = post = put = patch = delete = options = respond  # type: ignore[assignment]

    @property
    def default_response_headers(self) -> dict[str, str]:
        """The programs' own only."""
        return {}

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        reply = super().finalize_response(request, response, *args, **kwargs)
        return reply if self.program is None else self.program.dressed(reply)


def found(word: str, path: str) -> tuple[ReplacedInterface | None, str]:
    """The interface that is meant, and the path in it; None if there is none.

    `word`: an instrument's id, or its name as a slug, which must be that of one only. The path may begin with
    the program's name; without it, the program is the one that knows the path.
    """
    enabled = ReplacedInterface.objects.filter(enabled=True, instrument__retired_at=None)
    there = [each for each in enabled.select_related("instrument") if _is_called(each, word)]
    if len({each.instrument_id for each in there}) != 1:
        return None, path
    first, _, rest = path.partition("/")
    for each in there:
        if each.kind == first:
            return each, rest
    return next((each for each in there if PROGRAMS[each.kind].knows(path)), there[0]), path


def _is_called(interface: ReplacedInterface, word: str) -> bool:
    instrument = interface.instrument
    return str(instrument.pk) == _uuid(word) or slug(instrument.name) == word.lower()


def _uuid(word: str) -> str:
    try:
        return str(UUID(word))
    except ValueError:
        return ""


def slug(name: str) -> str:
    """An instrument's name as a part of an address: "UPS rack A" is ups-rack-a."""
    return slugify(name, allow_unicode=True)
