"""Which instrument answers as which replaced program did: what such a row may say, and how it is saved."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
from django.core.exceptions import ValidationError
from django.db import transaction

from devices import drivers
from devices.models import Channel
from devices.services import Person, require_staff
from telemetry.models import ReplacedInterface

EVERY_MAX = 3600.0
FIGURES = ("psi", "rho", "omega")
OWN_FIGURES = "metatron"  # the driver whose channels are called so
NUMBERS = ("float", "int", "bool")
TOPIC = re.compile(r"(?:[^+#$\0/][^+#\0]*[^+#\0/])?")
# One of these channels at least an instrument must have to answer as a program did.
TOLD = {
    ReplacedInterface.Kind.THERMOSTAT: ("ch0.temperature", "ch1.temperature"),
    ReplacedInterface.Kind.UPS: ("input_voltage", "battery_voltage", "battery_level"),
}

T = TypeVar("T")


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The thermostat logger has no options."""


class UpsOptions(msgspec.Struct, forbid_unknown_fields=True):
    """On which topic the MQTT bridge tells the same (docs/mqtt.md); empty: on none."""

    mqtt_topic: str = ""


class Figure(msgspec.Struct, forbid_unknown_fields=True):
    """A channel of the instrument, and which of its values are 0 and 1; without them it is told as it is."""

    channel: str
    low: float | None = None
    high: float | None = None


class Groups(msgspec.Struct, forbid_unknown_fields=True):
    """Drivers, all of whose instruments must answer if that part is to be ready."""

    scs: list[str] = []
    dionice: list[str] = []
    qdash: list[str] = []


class MetatronOptions(msgspec.Struct, forbid_unknown_fields=True):
    """What a Metatron server's words stand for at another instrument."""

    psi: Figure | None = None
    rho: Figure | None = None
    omega: Figure | None = None
    health: Groups = msgspec.field(default_factory=Groups)
    algorithm: str = ""
    mode: str = ""
    every: float = 0.0  # seconds between two points of the history, at least


OPTIONS: Mapping[str, type[msgspec.Struct]] = {
    ReplacedInterface.Kind.THERMOSTAT: Nothing,
    ReplacedInterface.Kind.UPS: UpsOptions,
    ReplacedInterface.Kind.METATRON: MetatronOptions,
}


def options(interface: ReplacedInterface, kind: type[T]) -> T:
    """The options in their types."""
    return msgspec.convert(interface.options, kind)


@transaction.atomic
def save(interface: ReplacedInterface, by: Person) -> ReplacedInterface:
    """Save a new or changed interface. Raises ValidationError for what could not answer so."""
    require_staff(by)
    check(interface)
    interface.save()
    return interface


@transaction.atomic
def delete(interface: ReplacedInterface, by: Person) -> None:
    """From now on the instrument answers as itself only."""
    require_staff(by)
    interface.delete()


def check(interface: ReplacedInterface) -> None:
    """Raises ValidationError, by field and in words."""
    interface.full_clean()
    if interface.instrument.retired_at:
        raise ValidationError({"instrument": "this instrument is retired"})
    try:
        options = msgspec.convert(interface.options, OPTIONS[interface.kind])
    except msgspec.ValidationError as error:
        raise ValidationError({"options": _words(error)}) from None
    kinds = dict(Channel.objects.filter(instrument=interface.instrument).values_list("key", "kind"))
    wanted = TOLD.get(ReplacedInterface.Kind(interface.kind), ())
    if wanted and not kinds.keys() & set(wanted):
        raise ValidationError(
            {"kind": f"{interface.instrument} has no channel that this program told, such as {wanted[0]}"}
        )
    if isinstance(options, UpsOptions) and not TOPIC.fullmatch(options.mqtt_topic):
        raise ValidationError(
            {"options": "mqtt_topic: a topic is needed, such as ups/telemetry, without + # $"}
        )
    if isinstance(options, MetatronOptions):
        is_own = interface.instrument.driver == OWN_FIGURES
        if wrong := list(_wrong(options, kinds, is_own=is_own)):
            raise ValidationError({"options": wrong})


def _words(error: msgspec.ValidationError) -> str:
    """msgspec's message with the place in a person's spelling."""
    message, _, place = str(error).partition(" - at `$.")
    return f"{place.rstrip('`')}: {message}" if place else message


def _wrong(options: MetatronOptions, kinds: Mapping[str, str], *, is_own: bool) -> Iterator[str]:
    for name in FIGURES:
        figure: Figure | None = getattr(options, name)
        if figure is not None:
            yield from (f"{name}: {words}" for words in _wrong_figure(figure, kinds))
        elif not is_own:
            yield f"{name}: which channel? Write {name} = {{ channel = … }}"
    yield from _wrong_drivers([*options.health.scs, *options.health.dionice, *options.health.qdash])
    if options.every and not 1.0 <= options.every <= EVERY_MAX:
        yield f"every: it is 0 or from 1 to {EVERY_MAX:.0f} s"


def _wrong_figure(figure: Figure, kinds: Mapping[str, str]) -> Iterator[str]:
    kind = kinds.get(figure.channel)
    if kind is None:
        yield f"there is no channel {figure.channel!r}"
    elif kind not in NUMBERS:
        yield f"channel {figure.channel!r} is of kind {kind}: a number is needed"
    limits = [limit for limit in (figure.low, figure.high) if limit is not None]
    if len(limits) == 1:
        yield "low and high belong together"
    elif limits and (not all(map(math.isfinite, limits)) or limits[0] == limits[1]):
        yield "low and high must be two different numbers"


def _wrong_drivers(named: Iterable[str]) -> Iterator[str]:
    for name in named:
        if name not in drivers.names():
            yield f"health: no driver {name!r}; there are {', '.join(drivers.names())}"
