"""Lumen S2 plate reader: it speaks by itself, a line for each thing it has to say, manual 1.4."""

from devices.drivers.base import Channel, Driver, Option, Secret
from devices.errors import LinkError
from devices.links.stream import LINE_BYTES_MAX, StreamLink
from devices.readings import Event, Reading, Run, Said, Vector


class LumenS2(Driver):
    """Lumen S2 plate reader: spectra, its door, its runs."""

    label = "Lumen S2 plate reader"
    schemes = ("tcp",)
    example = "tcp://192.168.1.31:5500"
    options = (Option("password", Secret, "", "Of the account `monitor`; empty: it asks for none"),)
    channels = (Channel("spectrum", "Spectrum", kind="vector"), Channel("lamp", "Lamp", "h", kind="int"))
    link: StreamLink

    async def open(self) -> None:
        self.rest, self.lost = b"", None
        self.link.listen(self.hear, self.lose)
        self.link.write(b"LOGIN monitor %s\nSUBSCRIBE\n" % self.secrets.get("password", "-").encode())

    async def read(self) -> list[Reading]:
        if self.lost:
            raise self.lost  # whoever polls hears of what happened between polls
        return []  # all that it says has been told already

    def lose(self, error: LinkError) -> None:
        self.lost = error

    def hear(self, chunk: bytes) -> None:
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        self.rest = self.rest[-LINE_BYTES_MAX:]
        self.tell([said for line in lines if (said := what(line.decode("ascii", "replace")))])


def what(line: str) -> Said | None:
    """What a line says; None for one that says nothing we know."""
    try:
        match line.split():
            case ["SCAN", time, *values]:  # stamped by the instrument, in µs of UTC
                return Reading("spectrum", Vector(tuple(map(float, values))), time=int(time))
            case ["LAMP", hours]:
                return Reading("lamp", int(hours))
            case ["DOOR", state]:
                return Event("door", f"the door is {state}")
            case ["RUN", number, percent]:
                state = "completed" if percent == "100" else "running"
                return Run(number, "scan", state, progress=float(percent) / 100)
    except ValueError:
        pass
    return None
