"""One edge process: the polling loop in a thread of its own, the recorder's and the uplink's beside it.

Everything here may be called from any thread; what concerns the polling loop is handed over to it.
"""

import asyncio
import contextlib
import logging
import resource
import threading
import uuid
from collections.abc import Callable

from devices.drivers import edge_host
from devices.edge import orders
from devices.edge.clock import SECOND, Clock, boot_id, mono
from devices.edge.health import Host, Tally
from devices.edge.poller import Poller
from devices.edge.recorder import Recorder
from devices.edge.settings import Settings
from devices.edge.spool import DiskTrouble, Spool, State
from devices.edge.uplink import Identity, Post, Uplink, UplinkThread
from devices.readings import GapReason
from devices.wire import Ack, Book, Gap, Poll, Stop, Tried, Welcome

logger = logging.getLogger(__name__)

UNSAVED_MAX = 2 * SECOND  # what a killed process can have had in memory: a second, and the commit under way
STOP_POLLING_WITHIN = 1.5  # seconds
SAVE_WITHIN = 5.0  # a slow disk is waited for
LEAVE_UPLINK_AFTER = 0.2
NOTE_DELIVERED_EVERY = 10.0


def _allow_many_links() -> None:
    """Each link is an open file, and many systems start programs with 1,024 at most."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _consume_always(on: bool) -> None:
    """For a runtime without a worker."""


class Runtime:
    """Built in a process that holds the spool's folder; raises BadSetting if another one does.

    `listen(on)` starts and stops the consuming of this edge's queue.
    """

    def __init__(
        self, settings: Settings, post: Post, listen: Callable[[bool], None] = _consume_always
    ) -> None:
        self.settings = settings
        self.instance = str(uuid.uuid4())
        self.boot = boot_id()
        self.clock = Clock()
        self.tally = Tally()
        self.spool = Spool(settings.folder, settings.spool_bytes, self.clock.now())
        self._left = self._begin()
        same_boot = self._left.boot == self.boot
        self.previous = self._left.instance if same_boot else ""  # who had the spool before
        self.recorder = Recorder(self.spool, self.clock, self.boot, self._saved)
        self._path = settings.folder / "orders.json"
        self.book = orders.load(self._path)
        self.poller = Poller(
            self.book, self.recorder, self.clock, self.tally, self._keep, settings.commit_every
        )
        self._host = Host(settings.folder)
        self._host_figures: dict[str, float | None] = {}
        self.uplink = Uplink(
            settings, self.spool, self.clock, post, self._identity(), self.recorder.acked, self._hold, listen
        )
        self._sender = UplinkThread(self.uplink, post)
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._poll, name="polling", daemon=True)
        self._stop_lock = threading.Lock()
        self._state = "new"
        self._noted_at = 0.0

    # ---- life

    def start(self) -> None:
        """Begin polling what the book on disk says; the broker is not waited for."""
        self._state = "running"
        _allow_many_links()
        edge_host.source = self.figures
        self.recorder.start(self._gaps_before)
        self._thread.start()
        self._sender.start()
        logger.info("edge %s polls %d instruments", self.settings.name, len(self.book.orders))

    def stop(self) -> None:
        """Stop polling and save everything; calling it again does no harm."""
        with self._stop_lock:
            before, self._state = self._state, "stopped"
            if before == "stopped":
                return
            if before == "running":
                self._stop_threads()
            self.spool.close()

    def _stop_threads(self) -> None:
        self._hand_over(self._end.set)
        self._thread.join(STOP_POLLING_WITHIN)
        if not self.recorder.finish(SAVE_WITHIN):
            logger.error("the disk did not take the last readings in time")
        self._sender.stop(LEAVE_UPLINK_AFTER)

    def _poll(self) -> None:
        try:
            self._loop.run_until_complete(self.poller.run(self._end))
        except Exception:
            logger.exception("the polling loop has ended")
        finally:
            self._loop.close()

    # ---- what the centre says

    def poll(self, message: Poll) -> None:
        if once := message.once:
            self._hand_over(lambda: self.poller.try_once(message.order, once, self._tell_tested))
            return
        self._hand_over(lambda: self._act_on(self.book.poll(message), message.order.instrument))

    def stop_order(self, message: Stop) -> None:
        self._hand_over(lambda: self._act_on(self.book.stop(message), message.instrument))

    def book_told(self, message: Book) -> None:
        self._hand_over(lambda: self._act_on(self.book.book(message)))

    def acknowledged(self, ack: Ack) -> None:
        arrived = mono()
        self._hand_over(lambda: self._compare(ack, arrived))
        self._sender.do(lambda now: self._answered(ack, now))

    def welcomed(self, welcome: Welcome) -> None:
        arrived = mono()
        if welcome.instance == self.instance:
            self._hand_over(lambda: self._compare(welcome, arrived))
        self._sender.do(lambda now: self.uplink.welcomed(welcome, now))

    def broker_is_back(self) -> None:
        """The worker has reached the broker (again)."""
        self._sender.do(self.uplink.broker_is_back)

    # ---- how it is

    def figures(self) -> dict[str, float | None]:
        """By the channel keys of the driver `edge_host`. Does not wait for the disk."""
        tally, lateness = self.tally, self.tally.lateness
        return {
            "instruments": len(self.book.orders),
            "connected": tally.connected,
            "spool_waiting": self.spool.waiting(),
            "polls": tally.polls,
            "overruns": tally.overruns,
            "skipped": tally.skipped,
            "connects": tally.connects,
            "failures": tally.failures,
            "lateness_p50": _milliseconds(lateness.quantile(0.5)),
            "lateness_p99": _milliseconds(lateness.quantile(0.99)),
            "clock_offset": self.clock.offset(),
            **self._host_figures,
        }

    def status(self) -> dict[str, float | str | None]:
        """What a hello tells beside the figures: in words, what is wrong."""
        self._look_around()
        return {
            **self.figures(),
            "disk_trouble": self.recorder.trouble,
            "refused": self.uplink.refused,
            "clock_sure": float(self.clock.sure),
        }

    def _look_around(self) -> None:
        """Figures that wait for the disk, taken in the uplink's thread."""
        figures = self._host.figures()
        with contextlib.suppress(DiskTrouble):
            oldest = self.spool.oldest()
            figures["spool_age"] = max(0, self.clock.now() - oldest) / SECOND if oldest else 0.0
            figures["spool_size"] = self.spool.size() / (1 << 20)
        self._host_figures = figures

    # ---- between the threads

    def _hand_over(self, act: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(act)

    def _act_on(self, changed: bool, instrument: str = "") -> None:
        if changed:
            self.poller.changed(instrument)

    def _compare(self, message: Ack | Welcome, arrived: int) -> None:
        self.poller.compare_clock(message.sent_mono, message.received, message.replied, arrived)

    def _saved(self, sequences: list[int]) -> None:
        self._sender.do(lambda now: self.uplink.saved(sequences, now))

    def _answered(self, ack: Ack, now: float) -> None:
        self.uplink.answered(ack, now)
        if now - self._noted_at >= NOTE_DELIVERED_EVERY:
            self._noted_at = now
            self.spool.note_delivered(self.spool.oldest() or self.clock.now())

    def _tell_tested(self, tested: Tried) -> None:
        self._sender.do(lambda _now: self.uplink.tell("labsite.tested", tested))

    def _hold(self, holder: bool) -> None:
        self._hand_over(lambda: self.poller.hold(holder))

    def _keep(self, kept: orders.Kept) -> None:
        self.recorder.do(lambda: orders.save(self._path, kept))

    def _identity(self) -> Identity:
        return Identity(self.instance, self.previous, self.boot, self._book_state, self.status)

    def _book_state(self) -> tuple[str, int, int]:
        return self.book.epoch, self.book.revision, len(self.book.orders)

    # ---- what is missing

    def _begin(self) -> State:
        try:
            return self.spool.begin(self.instance, self.boot)
        except DiskTrouble as trouble:
            logger.warning("the spool cannot be written: %s", trouble)
            return self.spool.state

    def _gaps_before(self, first: int) -> list[Gap]:
        """What the process before had not saved, and the time in which none ran."""
        before = self._left
        if not before.covered:
            return []
        same_boot = before.boot == self.boot
        start = before.covered_mono + self.clock.anchor if same_boot else before.covered
        if start >= first:
            return []
        if before.clean:
            return [Gap("", "", start, first, GapReason.NOT_RUNNING)]
        lost = min(start + UNSAVED_MAX, first)
        gaps = [Gap("", "", start, lost, GapReason.UNSAVED)]
        return [*gaps, Gap("", "", lost, first, GapReason.NOT_RUNNING)] if lost < first else gaps


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
