"""The demo lab: simulated instruments that speak their real wires on this machine, one of each kind.

The rules that their drivers propose are added with them, so that what is unplugged or goes wrong is an alarm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from alerts.rules import proposals
from devices import services
from devices.models import Edge, Instrument
from devices.simulators import lab
from devices.simulators.lab import Stand
from labsite.onebox import ports, programs


@dataclass(frozen=True)
class Demo:
    """How an instrument of the demo lab is entered."""

    name: str
    interval: float = 1.0  # seconds
    options: Mapping[str, Any] = field(default_factory=dict)


DEMOS = {
    "thermostat-1": Demo("demo thermostat 1"),
    "thermostat-2": Demo("demo thermostat 2"),
    "qpcr": Demo("demo qPCR machine", interval=2.0),
    "sensor": Demo("demo room sensor", interval=2.0),
    "calibration": Demo("demo calibration", interval=2.0),
    "ups": Demo("demo UPS", interval=2.0),
    "shell": Demo("demo calibration shell", interval=2.0),
}


def folder() -> Path:
    """For the lab's serial port and files; a file NAME.off in it unplugs an instrument."""
    return programs.demo_folder(settings.DATA_DIR)


def port() -> int:
    """The first of the demo lab's ports, kept from start to start; the others follow it."""
    return ports.kept(settings.DATA_DIR / "demo.port", run=lab.PORTS)


def load(edge: Edge) -> list[str]:
    """Put the demo lab into an empty Labsite. Which of its instruments are in use, and so to be served."""
    if settings.DEMO:
        with transaction.atomic():
            for name in missing():
                add(edge, name)
    move()
    in_use = set(in_service().values_list("address", flat=True))
    return [stand.name for stand in lab.known() if address(stand) in in_use]


def missing() -> list[str]:
    """All at the first start. Later, as long as there is nothing but the demo lab, those of a kind that has
    never been there, which a new version has brought."""
    own = Instrument.objects.exclude(driver=services.HOST_DRIVER)
    if own.filter(demo=False).exists() or (own.exists() and not in_service().exists()):
        return []
    had = set(own.values_list("driver", flat=True))
    return [stand.name for stand in lab.known() if stand.name in DEMOS and stand.driver not in had]


def in_service() -> Any:
    return Instrument.objects.filter(demo=True, retired_at=None)


def address(stand: Stand) -> str:
    return stand.address("127.0.0.1", port(), folder())


def add(edge: Edge, name: str) -> None:
    """Enter an instrument of the demo lab, with the rules that its driver proposes."""
    stand = next(stand for stand in lab.known() if stand.name == name)
    instrument = Instrument(
        name=DEMOS[name].name,
        driver=stand.driver,
        edge=edge,
        address=address(stand),
        interval=DEMOS[name].interval,
        options=dict(DEMOS[name].options),
        demo=True,
    )
    services.save_instrument(instrument, services.OPERATOR)
    proposals.accept(instrument, None, services.OPERATOR)


def move() -> None:
    """Where the data folder has moved, so have the paths in it."""
    for stand in lab.known():
        if stand.is_path:
            tail = f"/{folder().name}/{stand.name}"
            for instrument in in_service().filter(driver=stand.driver, address__endswith=tail):
                if instrument.address != address(stand):
                    instrument.address = address(stand)
                    services.save_instrument(instrument, services.OPERATOR)
