"""What measures itself and pushes its readings to the centre (docs/push.md): nobody polls it."""

from collections.abc import Mapping
from typing import Any

from devices.drivers.base import Channel, Driver, Option
from devices.drivers.declared import KindRow, rows
from devices.errors import ConfigurationError
from devices.readings import Reading


class Push(Driver):
    """A program's channels. Those that are not declared here come with the first reading of their key."""

    label = "Pushed readings"
    schemes = ("push",)
    example = "push://readings"
    options = (
        Option(
            "channels",
            list,
            [],
            "What it pushes, as far as it is known: objects with key, and if need be label, unit (UCUM), "
            "kind (float, int, bool, text, vector), digits, low, high; other keys are taken too",
        ),
    )

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        rows("channels", checked["channels"], KindRow)
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        return tuple(row.channel() for row in rows("channels", options.get("channels", []), KindRow))

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return False

    async def read(self) -> list[Reading]:
        raise ConfigurationError(
            "driver push: readings are pushed to the centre; an edge has nothing to poll"
        )
