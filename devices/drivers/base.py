"""What a driver is: it declares options and channels, opens, reads and closes. Plain Python, asynchronous."""

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from devices.errors import ConfigurationError
from devices.links.base import Link
from devices.readings import Reading, Said

UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # in a database's text: NUL and halves of surrogate pairs


SECRET_NAME = re.compile("[A-Z][A-Z0-9_]{0,39}")
CHANNEL_KINDS = ("float", "int", "bool", "text", "vector")
RULE_KINDS = ("high", "low", "outside", "equals", "differs", "rate", "event", "no_progress")
PRIORITIES = ("critical", "high", "medium", "low")


class Secret:
    """The kind of an option whose value is only named: `{"secret": "QPCR"}`, or "" for none.

    The edge reads `LABSITE_SECRET_QPCR` (or the file that `LABSITE_SECRET_QPCR_FILE` names).
    """


OptionValue = str | int | float | bool | list[Any] | dict[str, str]


@dataclass(frozen=True, slots=True)
class Channel:
    """One quantity that an instrument reports. `unit` is UCUM; `low` and `high` bound its normal range."""

    key: str
    label: str
    unit: str = ""
    kind: str = "float"  # one of CHANNEL_KINDS
    low: float | None = None
    high: float | None = None
    digits: int | None = None  # behind the decimal point, as far as the instrument resolves


@dataclass(frozen=True, slots=True)
class Option:
    """One setting of an instrument: what the admin's form shows and what an order may carry.

    A `list` holds objects, such as the channels that a lab declares itself; its driver says of what form, and
    checks them in its `checked_options`.
    """

    name: str
    kind: type[str] | type[int] | type[float] | type[bool] | type[list[Any]] | type[Secret]
    default: OptionValue
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    def checked(self, value: object) -> OptionValue:
        """The value in the option's own type. Raises ConfigurationError saying what is allowed."""
        if self.kind is Secret:
            return self._checked_secret(value)
        if self.kind is list:
            return self._checked_list(value)
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
        return cast("str | int | float | bool", value)

    def _checked_list(self, value: object) -> OptionValue:
        if not isinstance(value, list):
            raise ConfigurationError(f"option {self.name}: {value!r:.60} is no list")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"option {self.name}: not JSON: {error}") from None
        if any(UNSTORABLE.search(text) for text in _texts(value)):
            raise ConfigurationError(f"option {self.name} holds characters that cannot be stored")
        return value

    def _checked_secret(self, value: object) -> OptionValue:
        if value in ("", {}):
            return ""
        if isinstance(value, dict) and list(value) == ["secret"]:
            name = value["secret"]
            if isinstance(name, str) and SECRET_NAME.fullmatch(name):
                return {"secret": name}
        raise ConfigurationError(
            f'option {self.name} is a secret, which is only named here: {{"secret": "NAME"}}, with capitals, '
            "digits and underscores; its edge finds it in the environment as LABSITE_SECRET_NAME"
        )


@dataclass(frozen=True, slots=True)
class RuleTemplate:
    """A rule that is proposed for all instruments of a driver: what should not be, and what to do then.

    `kind` is one of RULE_KINDS, `key` names the channels (* and ? are wildcards), limits and dead-band are in
    their unit, times in seconds. `tag`: only for instruments that have it. `suppressed_by` is the name of
    another template of the driver, while whose alarm stands this one is not told.
    """

    name: str
    kind: str
    guidance: str
    key: str = ""
    tag: str = ""
    priority: str = "medium"
    low: float | None = None
    high: float | None = None  # of a rate: per minute
    value: str = ""  # a text, a number, "true" or "false"
    deadband: float = 0.0
    seconds: float | None = None
    event_kind: str = ""  # of the driver's events; run.failed, run.aborted, run.lost … of its runs
    event_text: str = ""
    on_delay: float = 0.0
    off_delay: float = 0.0
    latch: bool = False
    suppressed_by: str = ""
    suppressed_in: tuple[str, ...] = ()  # states of its runs


def _texts(value: object) -> Iterator[str]:
    """All texts within JSON, keys included."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            left += one


def _nobody(said: Iterable[Said]) -> None:
    """Where a driver's words go while no session has it."""


class Driver:
    """An instrument as the edge sees it while a session is open.

    `link` is open when `open` is called and is closed after `close`. `read` raises LinkError when the link
    is of no more use, ReplyError when only this answer is; readings of bad channels are returned, not raised.

    A streaming instrument's driver hands what it says between polls, and every event and run, to `tell`, any
    time from `open` to `close`, on the event loop; a link lost meanwhile is raised by the next `read`. What
    an instrument has stamped itself carries that stamp, throughout, so that reading it again doubles nothing.
    `heard_ago`: seconds since what is being told was heard, where it could be understood only later; the edge
    stamps by that.
    `memory` lives on from session to session of one instrument, until the edge stops or its order changes.
    `secrets` holds, by option name, the words themselves; they belong into no log and no message.
    """

    label: ClassVar[str]
    schemes: ClassVar[tuple[str, ...]]  # of addresses this driver can be given
    example: ClassVar[str]  # such an address, for forms and messages
    options: ClassVar[tuple[Option, ...]] = ()
    channels: ClassVar[tuple[Channel, ...]] = ()
    alarms: ClassVar[tuple[RuleTemplate, ...]] = ()  # the rules that are proposed for it

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        self.link = link
        self.settings = self.checked_options(options)
        self.secrets: Mapping[str, str] = {}
        self.memory: dict[str, Any] = {}
        self.tell: Callable[[Iterable[Said]], None] = _nobody
        self.heard_ago = 0.0

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

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        """Whether each poll that is answered brings a reading of this channel, as completeness counts them;
        not so of what is told only when it has changed, or comes by itself."""
        return True

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG003
        """What the link is to be told; `options` are checked."""
        return {}

    async def open(self) -> None:
        """Find out what the instrument must be asked; the link has just been opened."""

    async def read(self) -> list[Reading]:
        """One reading of each channel; of those only that have something new."""
        raise NotImplementedError

    async def close(self) -> None:
        """Take leave of the instrument; its link is closed next."""
