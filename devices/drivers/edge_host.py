"""The edge itself as an instrument: its spool, its punctuality, its clock and its machine."""

from collections.abc import Callable, Mapping
from typing import Any

from devices.drivers.base import Channel, Driver
from devices.errors import LinkError
from devices.readings import Quality, Reading

SOMETIMES = ("temperature", "lateness_p50", "lateness_p99", "clock_offset")  # not on each host, not at once


def _nobody() -> dict[str, float | None]:
    raise LinkError("no edge runs in this process")


# The edge process puts its own in place: what it knows of itself, by channel key.
source: Callable[[], dict[str, float | None]] = _nobody


class EdgeHost(Driver):
    """Read within the edge process; there is nothing on a wire."""

    label = "Edge"
    schemes = ("edge",)
    example = "edge://local"
    channels = (
        Channel("instruments", "instruments", kind="int"),
        Channel("connected", "instruments connected", kind="int"),
        Channel("spool_waiting", "batches waiting", kind="int"),
        Channel("spool_size", "spool size", "MiBy", digits=1),
        Channel("spool_age", "age of the oldest reading waiting", "s", digits=1),
        Channel("polls", "polls since the start", kind="int"),
        Channel("overruns", "overruns since the start", kind="int"),
        Channel("skipped", "ticks skipped since the start", kind="int"),
        Channel("connects", "connections made since the start", kind="int"),
        Channel("failures", "failed polls since the start", kind="int"),
        Channel("lateness_p50", "lateness of polls, median", "ms", digits=2),
        Channel("lateness_p99", "lateness of polls, 99th percentile", "ms", digits=2),
        Channel("clock_offset", "clock ahead of the centre's", "s", digits=3),
        Channel("cpu", "CPU, of one core", "%", digits=1),
        Channel("load", "load average, 1 min", digits=2),
        Channel("memory", "memory resident", "MiBy", digits=1),
        Channel("disk_free", "disk free", "%", digits=1),
        Channel("temperature", "temperature of the host", "Cel", digits=1),
    )

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return key not in SOMETIMES

    async def read(self) -> list[Reading]:
        figures = source()
        return [_reading(channel.key, figures.get(channel.key)) for channel in self.channels]


def _reading(key: str, value: float | None) -> Reading:
    return Reading(key, value, Quality.GOOD if value is not None else Quality.UNCERTAIN)
