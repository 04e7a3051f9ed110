"""What a driver is: it declares options and channels, opens, reads and closes. Plain Python, asynchronous."""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from devices.errors import ConfigurationError
from devices.links.base import Link
from devices.readings import Reading

UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # in a database's text: NUL and halves of surrogate pairs


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity that an instrument reports. `unit` is UCUM; `low` and `high` bound its normal range."""

    key: str
    label: str
    unit: str = ""
    kind: str = "float"  # float, int, bool or text
    low: float | None = None
    high: float | None = None
    digits: int | None = None  # behind the decimal point, as far as the instrument resolves


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of an instrument: what the admin's form shows and what an order may carry."""

    name: str
    kind: type[str] | type[int] | type[float] | type[bool]
    default: str | int | float | bool
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def checked(self, value: object) -> str | int | float | bool:
        """The value in the option's own type. Raises ConfigurationError saying what is allowed."""
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) <= sys.float_info.max else math.inf
        if not isinstance(value, self.kind) or (self.kind is int and isinstance(value, bool)):
            raise ConfigurationError(f"option {self.name}: {value!r} is not a {self.kind.__name__}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"option {self.name}: {value} is not a finite number")
        if isinstance(value, str) and UNSTORABLE.search(value):
            raise ConfigurationError(f"option {self.name}: {value!r} holds characters that cannot be stored")
        if self.choices and value not in self.choices:
            raise ConfigurationError(f"option {self.name}: {value!r} is none of {', '.join(self.choices)}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if self.low is not None and not value >= self.low:
                raise ConfigurationError(f"option {self.name}: {value} is below {self.low}")
            if self.high is not None and not value <= self.high:
                raise ConfigurationError(f"option {self.name}: {value} is above {self.high}")
        return value


class Driver:
    """An instrument as the edge sees it while a session is open.

    `link` is open when `open` is called and is closed after `close`. `read` raises LinkError when the link
    is of no more use, ReplyError when only this answer is; readings of bad channels are returned, not raised.
    """

    label: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]  # of addresses this driver can be given
    example: ClassVar[str]  # such an address, for forms and messages
    options: ClassVar[tuple[Option, ...]] = ()
    channels: ClassVar[tuple[Channel, ...]] = ()

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        self.link = link
        self.settings = self.checked_options(options)

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """All options, defaults filled in. Raises ConfigurationError for one that is unknown or wrong."""
        declared = {option.name: option for option in cls.options}
        if unknown := sorted(set(options) - set(declared)):
            known = ", ".join(declared) or "none"
            raise ConfigurationError(f"{cls.label} has no option {', '.join(unknown)}; its options: {known}")
        return {name: option.checked(options.get(name, option.default)) for name, option in declared.items()}

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:  # noqa: ARG003
        """The channels an instrument with these options has."""
        return cls.channels

    async def open(self) -> None:
        """Find out what the instrument must be asked; the link has just been opened."""

    async def read(self) -> list[Reading]:
        """One reading of each channel; of those only that have something new."""
        raise NotImplementedError

    async def close(self) -> None:
        """Take leave of the instrument; its link is closed next."""
