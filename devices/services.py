"""What people may change: edges and instruments. Each function asks first whether this person may."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.utils import timezone

from devices import drivers, links, trials
from devices.errors import ConfigurationError, Refused
from devices.models import PUSH_EDGE, Channel, Edge, Instrument

HOST_DRIVER = "edge_host"  # by which an edge reports on its own machine
HOST_ADDRESS = "edge://local"
HOST_INTERVAL = 5.0
PUSH_DRIVER = "push"  # of what nobody polls: a program pushes its readings
PUSH_ADDRESS = "push://readings"
NAME_LENGTH = 80
RETENTION = {False: "standard", True: "demo"}


@dataclass(frozen=True)
class Operator:
    """Who works at the command line of the centre, and so needs no further permission."""

    name: str = "operator"
    is_active: bool = True
    is_staff: bool = True


OPERATOR = Operator()
Person = AbstractBaseUser | AnonymousUser | Operator


def require_staff(by: Person) -> None:
    """Raises PermissionDenied unless this is an active member of staff."""
    if not (by.is_active and getattr(by, "is_staff", False)):
        raise PermissionDenied("only staff may change edges and instruments")


# ---- edges


@transaction.atomic
def save_edge(name: str, by: Person) -> Edge:
    """The edge of this name, made if there is none, with the instrument that reports on its machine.

    A retired edge comes back with a new key. Raises ValidationError for a name that cannot be used.
    """
    require_staff(by)
    edge = Edge.objects.select_for_update().filter(name=name).first() or Edge(name=name)
    if edge.retired_at:
        edge.retired_at = None
        edge.key_version += 2  # the key before the current one is taken too, and neither may be an old one
    edge.full_clean()
    edge.save()
    if not edge.instruments.filter(driver=HOST_DRIVER, retired_at=None).exists():
        host = Instrument(
            name=_free_name(f"edge {name}"),
            driver=HOST_DRIVER,
            edge=edge,
            address=HOST_ADDRESS,
            interval=HOST_INTERVAL,
        )
        save_instrument(host, by)
    return Edge.objects.get(pk=edge.pk)


@transaction.atomic
def rotate_key(edge: Edge, by: Person) -> Edge:
    """Give an edge its next key; the one it has is taken until the rotation after this one."""
    require_staff(by)
    edge = Edge.objects.select_for_update().get(pk=edge.pk)
    if edge.retired_at:
        raise Refused(f"edge {edge} is retired")
    edge.key_version += 1
    edge.save(update_fields=["key_version"])
    return edge


@transaction.atomic
def retire_edge(edge: Edge, by: Person) -> None:
    """Take leave of an edge that has no instruments any more; nothing it sends is taken from now on."""
    require_staff(by)
    edge = Edge.objects.select_for_update().get(pk=edge.pk)
    if edge.retired_at:
        raise Refused(f"edge {edge} is retired already")
    standing = edge.instruments.filter(retired_at=None)
    if left := standing.exclude(driver=HOST_DRIVER).count():
        raise Refused(f"edge {edge} still has {left} instruments: move or retire them first")
    for host in standing:
        _retire(host)
    Edge.objects.filter(pk=edge.pk).update(retired_at=timezone.now())


# ---- instruments


@transaction.atomic
def save_instrument(instrument: Instrument, by: Person) -> Instrument:
    """Save a new or changed instrument and the channels that its driver declares; its edge hears within 2 s.

    Raises ValidationError, by field and in words for people, if it could not work as it is described.
    """
    require_staff(by)
    check_instrument(instrument)
    instrument.save()
    sync_channels(instrument)
    instrument.refresh_from_db(fields=["revision"])
    return instrument


def check_instrument(instrument: Instrument) -> None:
    """Raises ValidationError; puts options into their declared types, and keeps a tag only once."""
    if instrument.retired_at:
        raise ValidationError("this instrument is retired; add it anew under a name of its own")
    _place(instrument)
    if isinstance(instrument.tags, list):
        instrument.tags = list(dict.fromkeys(instrument.tags))
    instrument.full_clean()
    if instrument.edge.retired_at:
        raise ValidationError({"edge": f"edge {instrument.edge} is retired"})
    with _field("driver"):
        driver = drivers.load(instrument.driver)
    with _field("address"):
        address = links.check(instrument.address)
        if address.scheme not in driver.schemes:
            raise ConfigurationError(f"a {driver.label} has an address like {driver.example}")
    if not isinstance(instrument.options, dict):
        raise ValidationError({"options": "options are an object: names and values"})
    with _field("options"):
        checked = driver.checked_options(instrument.options)
        driver.channels_for(checked)
    instrument.options = {name: checked[name] for name in instrument.options}


def _place(instrument: Instrument) -> None:
    """What is pushed has no machine and no address; what is polled needs both."""
    if instrument.driver == PUSH_DRIVER:
        instrument.edge, _made = Edge.objects.get_or_create(name=PUSH_EDGE)
        instrument.address = PUSH_ADDRESS
    elif instrument.edge_id and instrument.edge.name == PUSH_EDGE:
        raise ValidationError({"edge": "nobody polls there: name the edge that is to poll this instrument"})


class _field:  # noqa: N801 - reads as a statement
    """Turns what a driver or link refuses into an error of one field."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConfigurationError):
            raise ValidationError({self.name: str(error)}) from None


def sync_channels(instrument: Instrument) -> None:
    """Make the channels that the driver declares; those it no longer has keep their history."""
    driver = drivers.load(instrument.driver)
    declared = driver.channels_for(driver.checked_options(instrument.options))
    wanted = [
        Channel(
            instrument=instrument,
            key=channel.key,
            label=channel.label,
            unit=channel.unit,
            kind=channel.kind,
            low=channel.low,
            high=channel.high,
            digits=channel.digits,
            position=position,
            retention=RETENTION[instrument.demo],
        )
        for position, channel in enumerate(declared)
    ]
    Channel.objects.bulk_create(
        wanted,
        update_conflicts=True,
        unique_fields=["instrument", "key"],
        update_fields=["label", "unit", "kind", "low", "high", "digits", "position"],
    )


def keep_readings(channel: Channel, retention: str, by: Person) -> Channel:
    """Keep a channel's readings from now on as those of this class are; those stored before stay as they are.

    Raises PermissionDenied, ValidationError for a class that there is not.
    """
    require_staff(by)
    channel.retention = retention
    channel.clean_fields(exclude={"instrument"})
    channel.save(update_fields=["retention"])
    return channel


def test_connections(instruments: Sequence[Instrument], by: Person) -> list[trials.Verdict]:
    """Poll each once at its edge, saved or not, in service or not; nothing is recorded.

    Outside a transaction. Takes up to 12 s. Raises ValidationError for one that could not work as it is
    described, Refused if there are too many at once.
    """
    require_staff(by)
    for instrument in instruments:
        check_instrument(instrument)
        if instrument.driver == PUSH_DRIVER:
            raise Refused(f"{instrument} pushes its readings itself: there is no connection to test")
    return trials.run(instruments)


@transaction.atomic
def retire_instrument(instrument: Instrument, by: Person) -> None:
    """Poll an instrument no more; its history stays, its name is free again."""
    require_staff(by)
    current = Instrument.objects.select_for_update().get(pk=instrument.pk)
    if current.retired_at:
        raise Refused(f"{current} is retired already")
    if current.driver == HOST_DRIVER:
        raise Refused(f"{current} reports on the machine of edge {current.edge} and is retired with it")
    _retire(current)


@transaction.atomic
def retire_demo(by: Person) -> int:
    """Retire the demo lab; how many instruments that were."""
    require_staff(by)
    demo = list(Instrument.objects.select_for_update().filter(demo=True, retired_at=None).order_by("edge_id"))
    for instrument in demo:
        _retire(instrument)
    return len(demo)


def _retire(instrument: Instrument) -> None:
    now = timezone.now()
    name = _free_name(f"{instrument.name[: NAME_LENGTH - 30]} (retired {now:%Y-%m-%d})")
    Instrument.objects.filter(pk=instrument.pk).update(name=name, retired_at=now, in_service=False)


def _free_name(name: str) -> str:
    """This name, or with a number behind it if it is taken."""
    taken = set(Instrument.objects.filter(name__startswith=name).values_list("name", flat=True))
    return next(candidate for candidate in _numbered(name) if candidate not in taken)


def _numbered(name: str) -> Iterable[str]:
    yield name
    for number in count(2):
        yield f"{name} {number}"
