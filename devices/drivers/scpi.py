"""Any instrument that answers a line with a line, such as SCPI, over TCP (mostly port 5025) or serial."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import regex

from devices.drivers import scpi_values
from devices.drivers.base import Channel, Driver, Option
from devices.drivers.declared import KindRow, check_keys, rows
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.base import Link
from devices.links.stream import StreamLink
from devices.readings import Event, Reading, Value

TERMINATORS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}
SEARCHED = 1_000  # characters of an answer in which a pattern is looked for
SEARCH_WITHIN = 0.05  # seconds
PATTERN_MAX = 200
# A command with one place for a number. No other formats: some take memory at will.
SET = re.compile(r"[^{}]*\{(?:value)?(?::\+?\d{0,2}(?:\.\d{1,2})?[feEgG]?)?\}[^{}]*")
SETUP_MAX = 100
ERRORS_MAX = 20  # taken from the instrument's queue in one poll
STRIKES = 2
LEFT_OUT_FOR = 300.0  # seconds in which a question is not asked that alone was not answered


class Question(KindRow, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel: what is asked for it, and where in the answer it stands."""

    ask: str
    pattern: str = ""
    field: int | None = None
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_command("ask", self.ask)
        if self.field is not None and not 0 <= self.field < scpi_values.FIELDS_MAX:
            raise ValueError("field is the place between commas, the first is 0")
        if self.pattern and self.field is not None:
            raise ValueError("pattern and field exclude each other")
        _check_pattern("pattern", self.pattern, groups_max=1)

    def readings(self, answer: str) -> list[Reading]:
        return self.told(self._value(answer))

    def _value(self, answer: str) -> Value:
        text = answer
        if self.field is not None:
            parts = scpi_values.fields(answer)
            if self.field >= len(parts):
                return None
            text = parts[self.field]
        elif self.pattern:
            found = _search(self.pattern, answer)
            if found is None:
                return None
            text = found[found.re.groups] or ""
        return scpi_values.value_of(text, self.kind, self.scale, self.offset)


class Setpoint(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel that can also be set."""

    set: str

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_command("set", self.set)
        if not SET.fullmatch(self.set):
            raise ValueError('set needs one place for the value, as in "VOLT {}" or "VOLT {:.3f}"')


def _check_command(name: str, text: str) -> None:
    if not text.strip() or len(text) > 1_000 or not text.isprintable():
        raise ValueError(f"{name} {text!r:.60} is no command: one line of printable characters")


def _search(pattern: str, answer: str) -> "regex.Match[str] | None":
    """None, too, where a pattern that tries everything finds nothing in time: the polls of others wait."""
    try:
        return regex.search(pattern, answer[:SEARCHED], timeout=SEARCH_WITHIN)
    except TimeoutError:
        return None


def _check_pattern(name: str, pattern: str, groups_max: int) -> None:
    try:
        groups = regex.compile(pattern).groups
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{name} {pattern!r:.60} is no regular expression: {error}") from None
    if groups > groups_max or len(pattern) > PATTERN_MAX:
        raise ValueError(f"{name} {pattern!r:.60}: at most one group and {PATTERN_MAX} characters")


class Scpi(Driver):
    """An instrument with a text protocol, described in its options: nothing is known of it beforehand.

    What several channels ask alike is asked once a poll. Answers are taken as SCPI writes them: `9.9E37` and
    `NAN` are bad readings, `#H1F` is a number, a unit behind a number is ignored.
    """

    label = "SCPI or other line protocol"
    schemes = ("tcp", "serial")
    example = "tcp://192.168.1.40:5025"
    options = (
        Option(
            "channels",
            list,
            [{"key": "reading", "label": "Reading", "ask": "READ?"}],
            "What is read: objects with key and ask (the question), and if need be label, unit (UCUM), kind "
            "(float, int, bool, text, vector), field (place between commas, from 0) or pattern (a regular "
            "expression whose group is the value), scale, offset, digits, low, high",
        ),
        Option(
            "setpoints",
            list,
            [],
            "What can be set: objects as in channels (ask reads the setpoint back) and set, the command with "
            "a place for the value: VOLT {:.3f}; low and high bound what may be set",
        ),
        Option("setup", list, [], "Commands sent after connecting, as texts; one with ? is answered first"),
        Option(
            "identity",
            str,
            "",
            "Regular expression that the answer to *IDN? must match, so that no other instrument is read; "
            "empty: not asked",
        ),
        Option("errors", bool, False, "Ask SYST:ERR? after each poll; what is in the queue becomes events"),
        Option(
            "terminator", str, "LF", "What ends a line, of questions and answers", choices=tuple(TERMINATORS)
        ),
        Option("timeout", float, 2.0, "Seconds to wait for an answer", low=0.05, high=4.5),
        Option("pause", float, 0.0, "Seconds to wait before each command, for slow ones", low=0.0, high=1.0),
    )
    link: StreamLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        link.deadline = min(link.deadline, self.settings["timeout"])
        self._terminator = TERMINATORS[self.settings["terminator"]]
        self._questions: dict[str, list[Question]] = {}
        for question in declared(self.settings):
            self._questions.setdefault(question.ask, []).append(question)

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        if not declared(checked):
            raise ConfigurationError("option channels: declare at least one")
        _check_setup(checked["setup"])
        try:
            _check_pattern("", checked["identity"], groups_max=10)
        except ValueError as error:
            raise ConfigurationError(f"option identity:{error}") from None
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        return tuple(question.channel() for question in declared({**cls._defaults(), **options}))

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return {option.name: option.default for option in cls.options}

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"terminator": b"\r" if options["terminator"] == "CR" else b"\n"}

    async def open(self) -> None:
        if identity := self.settings["identity"]:
            answer = await self._ask("*IDN?")
            if not _search(identity, answer):
                raise ReplyError(f"it says it is {answer!r:.200}, which does not match {identity!r}")
        for command in self.settings["setup"]:
            if command.rstrip().endswith("?"):
                await self._ask(command)
            else:
                await self._say(command)

    async def read(self) -> list[Reading]:
        readings: list[Reading] = []
        self._answered: set[str] = set()
        try:
            for ask in self._in_order():
                readings += await self._read(ask)
            if self.settings["errors"]:
                await self._take_errors()
        except BaseException:
            self.tell(readings)  # what was answered before the link broke is not lost
            raise
        return readings

    # ---- questions that are not answered

    def _in_order(self) -> list[str]:
        """The questions; what was not answered last time comes last, so that it costs no other."""
        suspect = self.memory.get("suspect")
        return sorted(self._questions, key=lambda ask: ask == suspect)

    async def _read(self, ask: str) -> list[Reading]:
        channels = self._questions[ask]
        left_out = self.memory.setdefault("left_out", {})
        now = asyncio.get_running_loop().time()
        if left_out.get(ask, now) > now:
            return [reading for channel in channels for reading in channel.told(None)]
        try:
            answer = await self._ask(ask)
        except LinkError:
            self._suspect(ask)
            raise
        self._answered.add(ask)
        if self.memory.get("suspect") == ask:
            self.memory["suspect"] = None
        return [reading for channel in channels for reading in channel.readings(answer)]

    def _suspect(self, ask: str) -> None:
        """SCPI says nothing to a question it does not know. One that stays without an answer twice in turn,
        with all others answered before it, is left out for a while."""
        alone = len(self._questions) > 1 and self._answered >= self._questions.keys() - {
            ask, *self.memory["left_out"]
        }  # fmt: skip
        again = self.memory.get("suspect") == ask
        strikes = alone + (self.memory.get("strikes", 0) if again else 0)
        self.memory.update(suspect=ask, strikes=strikes)
        if strikes >= STRIKES:
            self.memory.update(suspect=None)
            self.memory["left_out"][ask] = asyncio.get_running_loop().time() + LEFT_OUT_FOR
            self.tell([Event("no_answer", f"{ask} is not answered: left out for {LEFT_OUT_FOR:.0f} s")])

    # ---- the wire

    async def _ask(self, question: str) -> str:
        if self.settings["pause"]:
            await asyncio.sleep(self.settings["pause"])
        answer = await self.link.ask(question.encode() + self._terminator)
        return answer.decode(errors="replace").strip()

    async def _say(self, command: str) -> None:
        if self.settings["pause"]:
            await asyncio.sleep(self.settings["pause"])
        self.link.write(command.encode() + self._terminator)

    async def _take_errors(self) -> None:
        for _ in range(ERRORS_MAX):
            error = scpi_values.error_of(await self._ask("SYST:ERR?"))
            if error is None:
                return
            code, words = error
            self.tell([Event("instrument_error", f"{code}: {words}", {"code": code})])


def declared(options: Mapping[str, Any]) -> tuple[Question, ...]:
    """All channels of an instrument with these options. Raises ConfigurationError."""
    questions = (
        *rows("channels", options["channels"], Question),
        *rows("setpoints", options["setpoints"], Setpoint),
    )
    check_keys("setpoints", questions)
    return questions


def _check_setup(commands: list[Any]) -> None:
    try:
        for command in commands:
            _check_command("command", command if isinstance(command, str) else "")
    except ValueError as error:
        raise ConfigurationError(f"option setup: {error}") from None
    if len(commands) > SETUP_MAX:
        raise ConfigurationError(f"option setup: {len(commands)} commands; at most {SETUP_MAX} are sent")
