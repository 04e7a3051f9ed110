"""What the replaced programs have in common: a request, and which function answers it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from devices.models import Instrument
from telemetry.models import ReplacedInterface


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an interface. `path` has no slash in front; `named` is what a route took of it."""

    interface: ReplacedInterface
    path: str
    request: Request
    now: datetime
    named: str = ""

    @property
    def instrument(self) -> Instrument:
        return self.interface.instrument


Handler = Callable[[Call], HttpResponseBase]
Methods = Mapping[str, Handler]


def not_ours(_error: Exception) -> None:
    """What goes wrong is answered as at the API."""


def unchanged(reply: HttpResponseBase) -> HttpResponseBase:
    return reply


@dataclass(frozen=True, slots=True)
class Program:
    """A program's paths with their methods, and how it answered what it did not know.

    A path that ends in `/*` takes one part more. `dressed` adds what every answer of the program carried.
    """

    routes: Mapping[str, Methods]
    missing: Handler
    not_allowed: Callable[[Call, str], HttpResponseBase]  # with the methods that there are
    preflight: Handler | None = None  # answers any OPTIONS, also without a login
    failed: Callable[[Exception], HttpResponseBase | None] = not_ours
    dressed: Callable[[HttpResponseBase], HttpResponseBase] = unchanged

    def knows(self, path: str) -> bool:
        return self._route(path)[0] is not None

    def answer(self, call: Call) -> HttpResponseBase:
        method = str(call.request.method)
        if method == "OPTIONS" and self.preflight is not None:
            return self.preflight(call)
        methods, named = self._route(call.path)
        if methods is None:
            return self.missing(call)
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            return self.not_allowed(call, ",".join(_allowed(methods)))
        return handler(Call(call.interface, call.path, call.request, call.now, named))

    def _route(self, path: str) -> tuple[Methods | None, str]:
        if path in self.routes:
            return self.routes[path], ""
        start, _, last = path.rpartition("/")
        return (self.routes.get(f"{start}/*"), last) if start and last else (None, "")


def _allowed(methods: Methods) -> list[str]:
    return [name for each in methods for name in ((each, "HEAD") if each == "GET" else (each,))]


def empty(code: int, **headers: str) -> HttpResponse:
    """An answer without a body, and so without a type."""
    reply = HttpResponse(status=code, headers=headers)
    del reply["Content-Type"]
    return reply


def plain(code: int, text: str) -> HttpResponse:
    return HttpResponse(text, "text/plain; charset=utf-8", code)


def json(content: bytes, code: int = 200) -> HttpResponse:
    return HttpResponse(content, "application/json", code)
