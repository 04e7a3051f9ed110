"""The demo lab: simulated thermostats that speak the real wire on this machine."""

from django.conf import settings

from devices import services
from devices.models import Edge, Instrument
from labsite.onebox import ports
from labsite.onebox.programs import DEMO_COUNT

DRIVER = "thermostat"
INTERVAL_S = 1.0


def port() -> int:
    """The first of the demo lab's ports, kept from start to start; the others follow it."""
    return ports.kept(settings.DATA_DIR / "demo.port", run=DEMO_COUNT)


def load(edge: Edge) -> int:
    """Put the demo lab into an empty Labsite. The port its simulators belong at; 0 once it is retired."""
    own = Instrument.objects.exclude(driver=services.HOST_DRIVER)
    if settings.DEMO and not own.exists():
        for number in range(DEMO_COUNT):
            add_thermostat(edge, f"demo thermostat {number + 1}", port() + number)
    return port() if own.filter(demo=True, retired_at=None).exists() else 0


def add_thermostat(edge: Edge, name: str, at: int) -> None:
    address = f"tcp://127.0.0.1:{at}"
    thermostat = Instrument(
        name=name, driver=DRIVER, edge=edge, address=address, interval=INTERVAL_S, demo=True
    )
    services.save_instrument(thermostat, services.OPERATOR)
