"""Hands notices over by every transport but Matrix: to some contacts at once, to each in order.

Nothing that another product does may stop who calls this: each attempt ends after some seconds.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait as wait_for
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from threading import Lock, Thread

from django.db import Error, connection, connections

from alerts.models import Notice
from alerts.notices import delivery, transports
from alerts.notices.transports import TransportError
from devices.errors import ConfigurationError

AT_ONCE = 4
PATIENCE = 10.0  # seconds for one attempt, whatever the other side does
TURN = 0x1B0  # advisory, with a contact's id: one process at a time tells it
BUDGET = 30.0  # seconds after which a long queue lets others have its thread

logger = logging.getLogger(__name__)


@dataclass
class Senders:
    """Some threads, and which contacts they are telling something."""

    pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(AT_ONCE, thread_name_prefix="notices")
    )
    busy: set[int] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def start(self, contact: int, clock: Callable[[], datetime]) -> "Future[None] | None":
        """Tell this contact what is due, unless somebody is at it."""
        with self.lock:
            if contact in self.busy:
                return None
            self.busy.add(contact)
        return self.pool.submit(self._run, contact, clock)

    def _run(self, contact: int, clock: Callable[[], datetime]) -> None:
        try:
            _deliver(contact, clock)
        except Error as error:  # what was sent and not recorded goes out again, under the same id
            logger.warning("notices to contact %d wait for the database: %s", contact, error)
        except Exception:  # a thread of a pool would keep it to itself
            logger.exception("notices to contact %d are interrupted", contact)
        finally:
            connections.close_all()
            with self.lock:
                self.busy.discard(contact)


SENDERS = Senders()


def deliver_due(now: datetime, *, wait: bool = False) -> int:
    """Start to send what is due, but by Matrix; returns to how many contacts. `wait`: until it is done."""
    begun = time.monotonic()

    def clock() -> datetime:
        return now + timedelta(seconds=time.monotonic() - begun)

    contacts = dict.fromkeys(notice.contact_id for notice in delivery.due(transports.TABLE, now))
    started = [future for contact in contacts if (future := SENDERS.start(contact, clock))]
    if wait:
        wait_for(started)
    return len(started)


def attempt(notice: Notice, now: datetime, *, last: bool = False) -> str:
    """Send one notice and write down what became of it: returns what went wrong, or "". `last`: no more."""
    message = delivery.begin(notice, now)
    if message is None:
        return ""
    begun = time.monotonic()
    send = partial(transports.TABLE[notice.contact.transport].send, notice.contact, message)
    try:
        reference = within(PATIENCE, send)
    except (TransportError, ConfigurationError) as error:
        trouble = error if isinstance(error, TransportError) else TransportError(str(error), away=True)
        seconds = time.monotonic() - begun
        delivery.failed(
            notice, str(trouble), now + timedelta(seconds=seconds), seconds=seconds,
            retry_after=trouble.retry_after, final=trouble.final or last, unsure=trouble.unsure,
            away=trouble.away,
        )  # fmt: skip
        return str(trouble)
    seconds = time.monotonic() - begun
    delivery.sent(notice, message, reference, seconds, now + timedelta(seconds=seconds))
    return ""


def within(seconds: float, send: Callable[[], str]) -> str:
    """What `send` returns or raises. If that takes longer, it is left to itself and TransportError raised."""
    outcome: Future[str] = Future()

    def run() -> None:
        try:
            outcome.set_result(send())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            outcome.set_exception(error)

    Thread(target=run, name="notice", daemon=True).start()
    try:
        error = outcome.exception(timeout=seconds)
    except TimeoutError:
        raise TransportError(f"no answer within {seconds:g} s", unsure=True, away=True) from None
    if error is not None and not isinstance(error, (TransportError, ConfigurationError)):
        logger.error("a transport failed by its own fault", exc_info=error)
        raise TransportError(f"own fault, see the log: {type(error).__name__}", unsure=True)
    return outcome.result()


def _deliver(contact: int, clock: Callable[[], datetime]) -> None:
    """What is due to one contact, in order, while that goes well."""
    if not _is_my_turn(contact):
        return
    until = clock() + timedelta(seconds=BUDGET)
    done: set[object] = set()
    while clock() < until:
        waiting = [each for each in delivery.due(transports.TABLE, clock(), contact) if each.pk not in done]
        if not waiting:
            return
        done.add(waiting[0].pk)
        attempt(waiting[0], clock())


def _is_my_turn(contact: int) -> bool:
    """Until this thread's connection is closed: another process may be telling the same contact."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [TURN, contact])
        (mine,) = cursor.fetchone() or (False,)
    return bool(mine)
