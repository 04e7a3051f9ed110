"""Applied Biosystems QuantStudio qPCR machines: what they log comes as a stream, the rest is asked for."""

import asyncio
import contextlib
import logging
import re
import time as clock
from collections.abc import Mapping, Sequence
from typing import Any

from devices.drivers.base import Channel, Driver, Option, RuleTemplate, Secret
from devices.drivers.quantstudio_channels import channels
from devices.drivers.quantstudio_log import SECOND, LogReader, stamped
from devices.drivers.quantstudio_queries import (
    ONCE,
    PROGRESS,
    RUN_CHANNELS,
    RUN_STATUS,
    ZONES,
    Query,
    apart,
    asked,
    run_as_asked,
    together,
)
from devices.drivers.quantstudio_recall import Recall
from devices.drivers.quantstudio_wire import Conversation, Refusal, proof
from devices.errors import ConfigurationError, InUse, LinkError, ReplyError
from devices.links import pins
from devices.links.base import Link
from devices.links.stream import StreamLink
from devices.readings import Quality, Reading, Said

logger = logging.getLogger(__name__)

LEVELS = ("Observer", "Controller", "Administrator", "Full")
TOPICS = ("Temperature", "Time", "Run", "LEDStatus")
MORE_TOPICS = "Error Warning Info Event System Image Preprocessing Scheduler"
FILTER_SETS = "x1-m1 x2-m2 x3-m3 x4-m4 x5-m5 x6-m6"
ZONES_USUAL = 6
GREETING_WITHIN = 5.0  # seconds
REPLY_WITHIN = 4.0
NO_REPLY_MAX = 30.0  # until a machine that goes on logging counts as gone all the same
SILENCE_MAX = 60.0  # until it is asked for its log again
ASK_AGAIN_AFTER = 600.0  # what it refused to tell
FAREWELL = 0.5


class QuantStudio(Driver):
    """QuantStudio 3, 5 and their kin, firmware with numbered commands: bare on port 7000, TLS on 7443."""

    label = "Applied Biosystems QuantStudio"
    schemes = ("tcp", "tls")
    example = "tls://192.168.1.40:7443"
    options = (
        Option(
            "access",
            str,
            "Observer",
            "Access level to take; Observer is enough to read everything",
            choices=LEVELS,
        ),
        Option("password", Secret, "", "Password for this access level, if the machine asks for one"),
        Option("pin", str, "", "TLS: SHA-256 of the one certificate to take, in hexadecimal"),
        Option("verify", bool, True, "TLS, without pin: take only a certificate signed by an authority"),
        Option("old_protocols", bool, False, "TLS: take TLS 1.0 and its ciphers, which old firmware needs"),
        Option(
            "zones",
            int,
            ZONES_USUAL,
            "Zones of the block; a QuantStudio 5 with 96 wells has 6",
            low=1,
            high=24,
        ),
        Option(
            "filters", str, FILTER_SETS, "Filter sets shown from the start; others come when they are used"
        ),
        Option(
            "topics", str, MORE_TOPICS, "Further topics of its log to keep as events; there is also Debug"
        ),
        Option(
            "ask_every",
            float,
            5.0,
            "Seconds between questions, at least: a run's log notes each. What streams is not asked for",
            low=0.5,
            high=3600.0,
        ),
        Option("own_time", bool, True, "Keep the machine's own times; without, what is missed is lost"),
        Option(
            "fill_hours",
            float,
            2.0,
            "After a start of the edge: how far back ended runs are read. After a mere loss of the link it "
            "is all since then, and of a run under way always all",
            low=0.0,
            high=720.0,
        ),
    )
    channels = channels(ZONES_USUAL, FILTER_SETS.split())
    alarms = (
        RuleTemplate(
            "qPCR run ended with an error",
            "event",
            "Look at the machine's display and at its log before the next run; the plate may still be warm.",
            event_kind="run.failed",
            priority="high",
        ),
        RuleTemplate(
            "qPCR run aborted",
            "event",
            "Somebody stopped it, at the machine or over the network, or it ended before its time.",
            event_kind="run.aborted",
        ),
        RuleTemplate(
            "qPCR machine in error",
            "equals",
            "It says Error and takes no run: look at its display.",
            key="state",
            value="Error",
            priority="high",
            on_delay=5.0,
            off_delay=10.0,
        ),
    )
    link: StreamLink

    def __init__(self, link: Link, options: Mapping[str, Any]) -> None:
        super().__init__(link, options)
        self._zones: int = self.settings["zones"]
        self._conversation: Conversation | None = None
        self._recall: Recall | None = None
        self._reader = LogReader(self._zones, frozenset(self.settings["topics"].split()))
        self._queries = asked(self._zones)
        self._refused: set[Query] = set()
        self._asks_apart = False
        self._ask_all_at = self._ask_at = self._logged_at = self._answered_at = 0.0
        self._offset: float | None = None
        self._first: list[Reading] = []
        self._is_quiet = False
        self._unheard = set(RUN_CHANNELS)  # since the opening; before it all was told to be bad
        self._absent: set[str] = set()

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        pins.check(checked["pin"])
        for name in ("filters", "topics"):
            if not re.fullmatch(r"[A-Za-z0-9 -]*", checked[name]):
                raise ConfigurationError(f"option {name}: {checked[name][:60]!r}: write words and blanks")
        return checked

    @classmethod
    def channels_for(cls, options: Mapping[str, Any]) -> tuple[Channel, ...]:
        zones = options.get("zones", ZONES_USUAL)
        return channels(zones, list(dict.fromkeys(options.get("filters", FILTER_SETS).lower().split())))

    @classmethod
    def tells_each_poll(cls, key: str, options: Mapping[str, Any]) -> bool:  # noqa: ARG003
        return False

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {name: options[name] for name in ("pin", "verify", "old_protocols")}

    # ---- opening

    async def open(self) -> None:
        conversation = self._conversation = Conversation(self.link, self._hear)
        try:
            async with asyncio.timeout(GREETING_WITHIN):
                greeting = await conversation.greeted()
                await self._take_access(conversation)
                await self._subscribe(conversation)
        except TimeoutError:
            raise LinkError(f"{self.link.address.url}: no word within {GREETING_WITHIN:g} s") from None
        self._first = [
            Reading(f"machine.{key}", greeting[name][:100])
            for name, key in (("product", "product"), ("version", "firmware"), ("build", "build"))
            if name in greeting
        ]
        now = asyncio.get_running_loop().time()
        self._logged_at = self._answered_at = now
        self._recall = Recall(conversation, self)
        try:
            async with asyncio.timeout(REPLY_WITHIN):
                self._first += await self._each(ONCE)
        except TimeoutError:
            self._first += _bad(ONCE)
        zones = {reading.key: reading.value for reading in self._first}.get(ZONES.keys[0])
        if zones not in {None, self._zones}:
            logger.warning("the block has %s zones, option zones says %s", zones, self._zones)
            self._reader.zones = None
        self._recall.start()

    async def _take_access(self, conversation: Conversation) -> None:
        level = self.settings["access"]
        try:
            if password := self.secrets.get("password"):
                challenge = (await conversation.ask("CHAL?")).strip()
                await conversation.ask(f"AUTH {proof(password, challenge)}")
            await conversation.ask(f"ACC -stealth=False -exclusive=False {level}")
        except Refusal as refusal:
            if refusal.kind == "AuthError":
                raise ConfigurationError("the machine refused the password of option password") from None
            if refusal.kind in {"AccessLevelExceeded", "InsufficientAccess"}:
                raise ConfigurationError(
                    f"the machine does not give access level {level}: {refusal}; it may need a password "
                    "(option password) or another setting of its network access"
                ) from None
            if refusal.kind in {"ExclusiveAccessGiven", "AccessGiven"}:
                url = self.link.address.url
                raise InUse(f"{url}: somebody else has access to himself: {refusal}") from None
            raise

    async def _subscribe(self, conversation: Conversation) -> None:
        await conversation.ask(f"SUBS -timestamp {' '.join(TOPICS)}")
        for topic in self.settings["topics"].split():
            with contextlib.suppress(Refusal):  # not every firmware has every topic
                await conversation.ask(f"SUBS -timestamp {topic}")

    async def close(self) -> None:
        recall, self._recall = self._recall, None
        if recall is not None:
            await recall.close()
        conversation, self._conversation = self._conversation, None
        if conversation is not None and conversation.lost is None:
            with contextlib.suppress(LinkError, ReplyError, TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await conversation.ask("QUIT")

    # ---- what it says of itself

    def _hear(self, topic: str, text: str) -> None:
        """A line of its log; only what it means goes on from here."""
        stamp, text = stamped(text)
        time = stamp if self.settings["own_time"] else None
        self._logged_at = asyncio.get_running_loop().time()
        self._is_quiet = False
        self.heard_ago = self._conversation.held_for if self._conversation is not None else 0.0
        if stamp is not None:
            self._offset = (stamp - clock.time_ns() // 1000) / SECOND + self.heard_ago
        recall = self._recall
        if recall is None or not recall.holds_back(topic, time, text):
            said = self._reader.hear(topic, time, text)
            self._unheard.difference_update(each.key for each in said if isinstance(each, Reading))
            self.take(said)
        self.heard_ago = 0.0

    def take(self, said: list[Said]) -> None:
        """Tell it, and see to the points of which there is more to be read."""
        if said:
            self.tell(said)
        if self._reader.points and self._recall is not None:
            points, self._reader.points = self._reader.points, []
            self._recall.collect(points)

    @property
    def reader(self) -> LogReader:
        return self._reader

    def go_on_with(self, reader: LogReader) -> None:
        """Another reader knows the run under way better."""
        self._reader = reader

    # ---- what it is asked

    async def read(self) -> list[Reading]:
        conversation = self._conversation
        if conversation is None or conversation.lost is not None:
            raise LinkError(str(conversation.lost) if conversation else "not open")
        now = asyncio.get_running_loop().time()
        readings, self._first = self._first, []
        if now - self._logged_at > SILENCE_MAX:
            readings += await self._wake(conversation)
        if now < self._ask_at:
            return readings
        every: float = self.settings["ask_every"]
        self._ask_at = now + 0.9 * every  # so that a poll a little early is not one too early
        answered = await self._ask(conversation)
        if any(each.key == PROGRESS.keys[0] and each.quality is Quality.GOOD for each in answered):
            readings += run_as_asked(self._unheard, answered)
            self._unheard.clear()
        readings += self._news(answered)
        if self._offset is not None:
            readings.append(Reading("clock.offset", round(self._offset, 3)))
            self._offset = None
        if self._recall is not None:
            self._recall.compare(readings)
        return readings

    def _news(self, asked: list[Reading]) -> list[Reading]:
        """Without those of which it is known already that there are none."""
        before = self._absent
        self._absent = {each.key for each in asked if each.quality is Quality.UNCERTAIN}
        return [each for each in asked if each.key not in before & self._absent]

    async def _ask(self, conversation: Conversation) -> list[Reading]:
        start = asyncio.get_running_loop().time()
        if start > self._ask_all_at:
            self._refused.clear()
            self._asks_apart = False
        queries = [query for query in self._queries if query not in self._refused]
        status = [] if RUN_STATUS in self._refused else [RUN_STATUS]
        try:
            async with asyncio.timeout(REPLY_WITHIN):
                if self._asks_apart:
                    readings = await self._each([*queries, *status])
                else:
                    readings = await self._together(conversation, queries) + await self._each(status)
        except ReplyError as error:
            logger.info("%s", error)
            readings = _bad([*queries, *status])
        except TimeoutError:
            self._give_up_if_gone(conversation, start)
            return _bad([*queries, *status])
        self._answered_at = start
        return readings

    async def _together(self, conversation: Conversation, queries: list[Query]) -> list[Reading]:
        """All in one question. If one of them is refused all are, and each is asked by itself."""
        try:
            answer = await conversation.ask(together(queries))
        except Refusal as refusal:
            logger.info("%s; each is asked by itself", refusal)
            known = len(self._refused)
            readings = await self._each(queries)
            self._asks_apart = len(self._refused) == known
            self._ask_all_at = asyncio.get_running_loop().time() + ASK_AGAIN_AFTER
            return readings
        answers = zip(queries, apart(queries, answer), strict=True)
        return [reading for query, said in answers for reading in query.readings(said)]

    async def _each(self, queries: Sequence[Query]) -> list[Reading]:
        """Asked one by one, but without waiting for one before the next."""
        conversation = self._conversation
        if conversation is None:
            return []
        answers = await asyncio.gather(
            *(conversation.ask(query.command) for query in queries), return_exceptions=True
        )
        readings: list[Reading] = []
        for query, answer in zip(queries, answers, strict=True):
            if isinstance(answer, str):
                readings += query.readings(answer)
            elif isinstance(answer, ReplyError):
                self._refused.add(query)
                self._ask_all_at = asyncio.get_running_loop().time() + ASK_AGAIN_AFTER
                readings += query.bad()
            else:
                raise answer
        return readings

    def _give_up_if_gone(self, conversation: Conversation, asked_at: float) -> None:
        """Replies may be late where a machine is busy; that it lives is seen by what it logs."""
        silent_for = asyncio.get_running_loop().time() - self._answered_at
        if conversation.heard_at < asked_at or silent_for > NO_REPLY_MAX:
            raise LinkError(f"{self.link.address.url}: no reply for {silent_for:.0f} s")

    async def _wake(self, conversation: Conversation) -> list[Reading]:
        """It logs nothing any more: ask for it again, and let no old value pass for a present one."""
        self._logged_at = asyncio.get_running_loop().time()
        with contextlib.suppress(ReplyError, TimeoutError):
            async with asyncio.timeout(REPLY_WITHIN):
                await self._subscribe(conversation)
        if self._is_quiet:
            return []
        self._is_quiet = True
        logger.warning(
            "%s: has logged nothing for %g s; subscribed again", self.link.address.url, SILENCE_MAX
        )
        keys = [f"{name}.{zone}" for name in ("sample", "block") for zone in range(1, self._zones + 1)]
        keys += ["cover", "heatsink", "led.temperature", "led.current", "led.voltage", "led.junction"]
        return [Reading(key, None, Quality.BAD) for key in keys]


def _bad(queries: Sequence[Query]) -> list[Reading]:
    return [reading for query in queries for reading in query.bad()]
