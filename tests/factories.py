"""What tests of the doors begin with: people, edges, instruments."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from rest_framework.test import APIClient

from devices import services
from devices.drivers.base import Channel as DeclaredChannel, Driver, Option, Secret
from devices.errors import ConfigurationError
from devices.models import AccessToken, Edge, Instrument

ADDRESS = "tcp://192.168.1.26:23"


class Probe(Driver):
    """A driver with an option of every kind, for forms and files."""

    label = "Probe"
    schemes = ("tcp",)
    example = "tcp://192.168.1.9:99"
    options = (
        Option("mode", str, "fast", "How it measures", choices=("fast", "slow")),
        Option("note", str, "", "Anything you like"),
        Option("count", int, 3, "Samples for one value", low=1, high=10),
        Option("gain", float, 1.0, "Factor", low=-1e300),
        Option("invert", bool, False, "Turn the sign"),
        Option("parts", list, [], "What it consists of: objects with a key"),
        Option("word", Secret, "", "The password"),
    )
    channels = (DeclaredChannel("level", "Level", "cm", low=1.0, high=9.0, digits=1),)

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        for place, part in enumerate(checked["parts"], start=1):
            if not (isinstance(part, dict) and isinstance(part.get("key"), str)):
                raise ConfigurationError(f"option parts: item {place} has no key")
        return checked


def person(name: str = "staff", *, staff: bool = True, superuser: bool = False) -> User:
    return User.objects.create_user(name, is_staff=staff, is_superuser=superuser)


def client(user: User | None = None) -> APIClient:
    """A client of the API, logged in by session."""
    api = APIClient()
    if user is not None:
        api.force_login(user)
    return api


def token_client(user: User, scope: str = "", expiry: timedelta | None = None) -> APIClient:
    """A client of the API with a bearer token."""
    _token, text = AccessToken.objects.create(user, expiry, scope=scope)
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return api


def edge(name: str = "local") -> Edge:
    return services.save_edge(name, by=services.OPERATOR)


def instrument(name: str = "Bath 1", **fields: Any) -> Instrument:
    """A thermostat, unless another driver is given."""
    fields = {"driver": "thermostat", "address": ADDRESS, **fields}
    fields.setdefault("edge", Edge.objects.filter(name="local").first() or edge())
    return services.save_instrument(Instrument(name=name, **fields), by=services.OPERATOR)
