"""The uplink: what the spool holds goes to the centre on two tracks, in order, re-sent until answered.

`Uplink` decides what is sent when, and is driven from outside (`step`, `saved`, `answered`, `welcomed`), all
in one thread; `UplinkThread` is that thread, because sending may wait for the broker. Times are seconds of
the monotonic clock.
"""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from devices import wire
from devices.edge.clock import SECOND, Clock
from devices.edge.settings import Settings
from devices.edge.spool import END, DiskTrouble, Numbered, Spool
from devices.wire import Ack, Hello, Message, Parcel, Welcome

logger = logging.getLogger(__name__)

HELLO_EVERY = 5.0
LISTEN_FOR = 5.0  # seconds in which an instance that does not hold the name hears the answer to its hello
STANDBY_HELLO_EVERY = 15.0
HELLO_GAP_MAX = 10.0  # while nobody answers; half of that again is how late live values are after an outage
LIVE_FOR = 10.0  # a batch not acknowledged so long after it was saved is backlog
ANSWER_WITHIN = (5.0, 10.0)  # of the first try and of the second, which is the last
PARCEL_BYTES = 1_000_000
PARCEL_BATCHES = 1_000
UNANSWERED_MAX = 5
UNREAD_RETRY = 600.0  # one message in so many seconds into a queue that nobody reads
LOOK_EVERY = 1.0  # at the queue's length, while it is not read
BROKER_RETRY_MIN, BROKER_RETRY_MAX = 0.5, 3.0
REFUSED_MIN, REFUSED_MAX = 5.0, 60.0


class BrokerAway(Exception):
    """The broker does not take a message now."""


class Post(Protocol):
    """The way to the centre."""

    def send(self, task: str, envelope: dict[str, Any]) -> None:
        """Raises BrokerAway."""

    def waiting(self) -> int:
        """How many messages lie in the centre's queue. Raises BrokerAway."""

    def close(self) -> None: ...


@dataclass(slots=True)
class Identity:
    """Who this process is to the centre, and what it tells of its book."""

    instance: str
    previous: str
    boot: str
    book: Callable[[], tuple[str, int, int]]  # epoch, revision, orders
    status: Callable[[], dict[str, float | str | None]]


@dataclass(slots=True)
class Track:
    """One parcel at a time; what follows it is read from the spool while it is under way."""

    name: str
    parcel: list[Numbered] = field(default_factory=list)
    following: list[Numbered] = field(default_factory=list)
    tries: int = 0
    next_at: float = 0.0
    refusals: int = 0

    def drop(self) -> None:
        """Forget what is under way; the spool still has it."""
        self.parcel, self.following, self.tries, self.next_at = [], [], 0, 0.0

    def move_on(self, lost_through: int) -> None:
        """The parcel has arrived; of what follows, rows up to `lost_through` are no longer in the spool."""
        following = [numbered for numbered in self.following if numbered.sequence > lost_through]
        self.drop()
        self.parcel = following


class Uplink:
    """`changed(holder)` is called when the centre gives this instance the edge's name, or refuses it."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        clock: Clock,
        post: Post,
        identity: Identity,
        acked: Callable[[Sequence[int]], None],
        changed: Callable[[bool], None],
        listen: Callable[[bool], None],
    ) -> None:
        self._settings, self._spool, self._clock, self._post = settings, spool, clock, post
        self._identity = identity
        self._tell_acked, self._changed, self.listen = acked, changed, listen
        self.holder = True
        self.refused = ""  # the centre's reason for taking nothing
        self.broker_trouble = ""
        self.unanswered = 0
        self.heard_at: float | None = None
        self._name = spool.state.spool  # the spool that the tracks' sequences are of
        self._open = False  # whether the centre is known to answer; if not, only hellos go out
        self._live, self._backlog = Track("live"), Track("backlog")
        self._fresh: deque[tuple[int, float]] = deque()
        self._live_done = 0
        self._acked: set[int] = set()
        self._last_ack_mono = 0
        self._hello_at = 0.0
        self._hello_gap = HELLO_EVERY
        self._deaf_at: float | None = None
        self._broker_at = 0.0
        self._broker_gap = BROKER_RETRY_MIN
        self._sent_at = 0.0
        self._look_at = 0.0

    # ---- what happens

    def saved(self, sequences: Iterable[int], now: float) -> None:
        """Rows are in the spool."""
        self._follow_spool()
        self._fresh.extend((sequence, now) for sequence in sequences)

    def answered(self, ack: Ack, now: float) -> None:
        """The centre's word on batches."""
        self._heard(now)
        self._last_ack_mono = max(self._last_ack_mono, int(now * SECOND))
        self._follow_spool()
        if ack.spool != self._name:
            return
        if ack.outcome == "refused":
            self._take_refusal(ack, now)
            return
        if ack.outcome not in ("stored", "rejected"):
            logger.error("the centre answers %r, which this edge does not know", ack.outcome)
            return
        if ack.outcome == "rejected":
            logger.error(
                "the centre could not use %d batches, and keeps them: %s", len(ack.sequences), ack.reason
            )
        self.refused = ""
        self._acked.update(ack.sequences)
        self._tell_acked(ack.sequences)
        for track in (self._live, self._backlog):
            self._settle(track)
        self._trim()
        if ack.through > self._spool.state.told_through:
            self._spool.told(ack.through)

    def welcomed(self, welcome: Welcome, now: float) -> None:
        """The centre's answer to a hello."""
        if welcome.instance != self._identity.instance:
            return
        self._heard(now)
        self._hold(welcome.holder, welcome.reason, now)
        if not welcome.holder or welcome.spool != self._spool.state.spool:
            return
        if welcome.through >= self._spool.state.next:
            logger.error("the centre has batches that this spool has lost; it goes on under a new name")
            self._spool.renew()
            self._follow_spool()
        elif welcome.sent_mono > self._last_ack_mono and self._spool.told(welcome.through):
            logger.warning("the centre was restored; batches after %d are sent again", welcome.through)
            self._restart_tracks()

    def tell(self, task: str, message: Message) -> None:
        """Send what is of use only now: not again if it is lost; no answer to it is awaited."""
        settings = self._settings
        try:
            self._post.send(task, wire.seal(message, settings.name, settings.key_version, settings.key))
        except BrokerAway as error:
            logger.warning("the broker is away (%s); a %s is dropped", error, type(message).__name__)

    def step(self, now: float) -> float:
        """Send what is due. Returns in how many seconds there is something to do at the latest."""
        if now < self._broker_at:
            return self._broker_at - now
        self._follow_spool()
        try:
            self._say_hello(now)
            if self.holder and self._open:
                self._send_live(now)
                self._send_backlog(now)
        except BrokerAway as error:
            self._lost_broker(error, now)
            return self._broker_gap
        return max(min(self._next_at(now) - now, 1.0), 0.01)

    def broker_is_back(self, now: float) -> None:
        """Somebody saw that the broker answers."""
        if self.broker_trouble:
            self._broker_at = 0.0
            self._hello_at = min(self._hello_at, now)

    # ---- hellos

    def _say_hello(self, now: float) -> None:
        if self._deaf_at is not None and now >= self._deaf_at:
            self._deaf_at = None
            self.listen(False)
        if now < self._hello_at or not self._may_send(now):
            return
        if not self.holder:
            self.listen(True)
            self._deaf_at = now + LISTEN_FOR
        epoch, revision, orders = self._identity.book()
        state = self._spool.state
        hello = Hello(
            self._identity.instance,
            self._identity.previous,
            self._identity.boot,
            state.spool,
            state.acked_through,
            epoch,
            revision,
            orders,
            time.monotonic_ns() // 1000,
            self._identity.status(),
        )
        self._send("labsite.hello", hello, now)
        if not self.holder:
            self._hello_gap = STANDBY_HELLO_EVERY
        elif self._open:
            self._hello_gap = HELLO_EVERY
        else:
            self._hello_gap = min(self._hello_gap * 1.2, HELLO_GAP_MAX)
        self._hello_at = now + self._hello_gap

    def _hold(self, holder: bool, reason: str, now: float) -> None:
        if holder != self.holder:
            self.holder = holder
            self._changed(holder)
            if holder:
                logger.warning("this instance holds the name %s now", self._settings.name)
            else:
                logger.error("this instance does not hold the name %s: %s", self._settings.name, reason)
                self._hello_at = now + STANDBY_HELLO_EVERY
        if holder:
            self._deaf_at = None
        elif self._deaf_at is not None or self._open:
            self._deaf_at = now
        self._open = holder

    def _heard(self, now: float) -> None:
        """Any answer opens the tracks again."""
        if not self._open and self.holder:
            logger.info("the centre answers")
            self._open = True
            self._hello_gap = HELLO_EVERY
        self.unanswered = 0
        self.heard_at = now

    # ---- tracks

    def _send_live(self, now: float) -> None:
        boundary = self._boundary(now)
        track = self._live
        if track.parcel and track.parcel[-1].sequence < boundary and track.tries < len(ANSWER_WITHIN):
            track.drop()  # it has become backlog
        if not track.parcel and now >= track.next_at:
            after = max(boundary - 1, self._live_done)
            track.parcel = self._pending(after, END)
        self._send_track(track, now)

    def _send_backlog(self, now: float) -> None:
        track = self._backlog
        if not self._open:
            return
        if not track.parcel and now >= track.next_at:
            track.parcel = self._backlog_after(0, now)
        self._send_track(track, now)
        if track.tries == 1 and not track.following and len(track.parcel) > 1:
            track.following = self._backlog_after(track.parcel[-1].sequence, now)

    def _backlog_after(self, after: int, now: float) -> list[Numbered]:
        """Not past what the live track has under way: that may grow old and turn out to be backlog."""
        before = min([self._boundary(now), *(numbered.sequence for numbered in self._live.parcel[:1])])
        return self._pending(after, before)

    def _pending(self, after: int, before: int) -> list[Numbered]:
        try:
            found = self._spool.pending(after, before, PARCEL_BYTES, self._acked)[:PARCEL_BATCHES]
        except DiskTrouble as trouble:
            logger.warning("the spool cannot be read: %s", trouble)
            return []
        return found if self._spool.state.spool == self._name else []

    def _follow_spool(self) -> None:
        """A spool set aside counts anew: what is under way must not be sent under the new one's name."""
        if self._spool.state.spool == self._name:
            return
        self._name = self._spool.state.spool
        self._fresh = deque(entry for entry in self._fresh if entry[0] < self._spool.state.next)
        self._restart_tracks()

    def _boundary(self, now: float) -> int:
        """The first sequence that is still live."""
        while self._fresh and self._fresh[0][1] <= now - LIVE_FOR:
            self._fresh.popleft()
        return self._fresh[0][0] if self._fresh else self._spool.state.next

    def _send_track(self, track: Track, now: float) -> None:
        if not track.parcel or now < track.next_at:
            return
        if self._given_up(track, now) or not self._may_send(now):
            return
        self._send("labsite.ingest", self._parcel(track), now)
        track.next_at = now + ANSWER_WITHIN[track.tries]
        track.tries += 1

    def _parcel(self, track: Track) -> Parcel:
        rows = [numbered.row for numbered in track.parcel]
        boot = self._identity.boot
        return Parcel(
            self._name,
            track.name,
            [numbered.sequence for numbered in track.parcel],
            [self._clock.shift(row.anchor, sure=row.sure) if row.boot == boot else 0 for row in rows],
            [wire.as_text(row.packed) for row in rows],
            time.monotonic_ns() // 1000,
            self._kept_from(),
        )

    def _kept_from(self) -> int:
        """What is below will never be sent (again); a parcel under way may hold what the spool has lost."""
        sent = (track.parcel[0].sequence for track in (self._live, self._backlog) if track.parcel)
        try:
            return min(self._spool.kept_from(), *sent)
        except DiskTrouble:
            return 0  # not told

    def _settle(self, track: Track) -> None:
        """A parcel all of whose batches are acknowledged makes room for the next."""
        if track.parcel and all(numbered.sequence in self._acked for numbered in track.parcel):
            if track is self._live:
                self._live_done = track.parcel[-1].sequence
            track.move_on(self._spool.state.acked_through)
            track.refusals = 0

    def _trim(self) -> None:
        """What the spool has marked itself need not be remembered here."""
        through = self._spool.state.acked_through
        self._acked = {sequence for sequence in self._acked if sequence > through}

    def _take_refusal(self, ack: Ack, now: float) -> None:
        if ack.reason != self.refused:
            logger.error("the centre refuses this edge's batches, they are kept: %s", ack.reason)
        self.refused = ack.reason or "refused"
        refused = set(ack.sequences)
        for track in (self._live, self._backlog):
            if refused.intersection(numbered.sequence for numbered in track.parcel):
                refusals = track.refusals
                track.drop()
                track.refusals = refusals + 1
                track.next_at = now + min(REFUSED_MIN * 2**refusals, REFUSED_MAX)

    def _given_up(self, track: Track, now: float) -> bool:
        """After its last try nobody has answered: only hellos go out from now on."""
        if track.tries < len(ANSWER_WITHIN) or now < track.next_at:
            return False
        logger.warning("the centre does not answer; readings are kept")
        self._close(now)
        return True

    def _close(self, now: float) -> None:
        self._open = False
        self._hello_gap = HELLO_EVERY
        self._hello_at = min(self._hello_at, now + HELLO_EVERY)
        for track in (self._live, self._backlog):
            track.drop()

    def _restart_tracks(self) -> None:
        self._acked.clear()
        self._live_done = 0
        self._live.drop()
        self._backlog.drop()

    # ---- sending

    def _may_send(self, now: float) -> bool:
        """Nothing piles up in a queue that nobody reads."""
        if self.unanswered < UNANSWERED_MAX:
            return True
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY
        if self._post.waiting() == 0:  # somebody took them, or the broker was wiped
            self.unanswered = 0
            return True
        return now - self._sent_at >= UNREAD_RETRY

    def _send(self, task: str, message: Message, now: float) -> None:
        settings = self._settings
        self._post.send(task, wire.seal(message, settings.name, settings.key_version, settings.key))
        self.unanswered += 1
        self._sent_at = now
        if self.broker_trouble:
            logger.warning("the broker answers again")
            self.broker_trouble = ""
            if task != "labsite.hello":
                self._hello_at = now
        self._broker_gap = BROKER_RETRY_MIN

    def _lost_broker(self, error: BrokerAway, now: float) -> None:
        if not self.broker_trouble:
            logger.warning("the broker is away (%s); readings are kept", error)
        self.broker_trouble = str(error) or "away"
        self._broker_gap = min(self._broker_gap * 1.5, BROKER_RETRY_MAX)
        self._broker_at = now + self._broker_gap
        self._hello_at = min(self._hello_at, self._broker_at)

    def _next_at(self, now: float) -> float:
        times = [self._hello_at]
        if self.unanswered >= UNANSWERED_MAX:
            times = [self._look_at]
        if self._deaf_at is not None:
            times.append(self._deaf_at)
        if self._open:
            times.extend(track.next_at for track in (self._live, self._backlog) if track.parcel)
        return max(min(times), now)


Event = Callable[[float], None]


class UplinkThread:
    """Runs an uplink: what happens elsewhere comes in through `do`."""

    def __init__(self, uplink: Uplink, post: Post) -> None:
        self.uplink = uplink
        self._post = post
        self._inbox: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)
        self._stopping = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def do(self, event: Event) -> None:
        """Have `event(now)` called in the uplink's thread; from any thread."""
        self._inbox.put(event)

    def stop(self, within: float) -> bool:
        """Whether it ended in time; a thread that waits for a silent broker is left behind."""
        self._stopping.set()
        self._inbox.put(None)
        self._thread.join(within)
        return not self._thread.is_alive()

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.is_set():
            with contextlib.suppress(queue.Empty):
                event = self._inbox.get(timeout=wait)
                while event is not None:
                    self._guarded(event)
                    event = self._inbox.get_nowait()
            if self._stopping.is_set():
                break
            wait = self._guarded(self.uplink.step) or 1.0
        self._post.close()

    def _guarded(self, act: Callable[[float], float | None]) -> float | None:
        try:
            return act(time.monotonic())
        except DiskTrouble as trouble:
            logger.warning("the spool's disk: %s", trouble)
        except Exception:
            logger.exception("the uplink goes on after an error of its own")
        return None
