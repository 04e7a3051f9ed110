"""The old addresses: ports on which the web process answers as one program of one instrument.

    LABSITE_REPLACED_PORTS="thermostat=8001:Bath 1,ups=8080:UPS rack A"

No process of its own: the web server listens on further sockets, and a request says on which it came. The
settings read this, and so it knows no Django.
"""

from dataclasses import dataclass

from labsite.env import BadSetting

KINDS = ("thermostat", "ups", "metatron")


@dataclass(frozen=True, slots=True)
class Port:
    """Which program of which instrument answers on it."""

    number: int
    kind: str
    instrument: str  # its name or its id


def parse(text: str) -> dict[int, Port]:
    """The ports by their numbers. Raises BadSetting."""
    ports: dict[int, Port] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        kind, _, place = entry.partition("=")
        number, _, instrument = place.partition(":")
        if kind.strip() not in KINDS:
            raise BadSetting(f"LABSITE_REPLACED_PORTS: {entry!r} must begin with one of {', '.join(KINDS)}")
        if not (number.strip().isdecimal() and 0 < int(number) < 65_536 and instrument.strip()):
            raise BadSetting(
                f"LABSITE_REPLACED_PORTS: {entry!r} must be like {kind}=8001:Name of the instrument"
            )
        port = Port(int(number), kind.strip(), instrument.strip())
        if port.number in ports:
            raise BadSetting(f"LABSITE_REPLACED_PORTS names port {port.number} twice")
        ports[port.number] = port
    return ports
