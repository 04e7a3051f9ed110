"""The edge's Celery app: tasks that open an envelope and hand what is in it to the polling loop's thread.

The loop is started by a step of the worker's own, before the broker is waited for, so that an edge that boots
without its network polls what its order book says.
"""

import logging
import os
import threading
import time
from typing import Any, TypeVar

from celery import Celery, Task, bootsteps
from celery.exceptions import Reject
from celery.signals import worker_shutdown, worker_shutting_down

from devices import wire
from devices.broker import SteadyConsumer, options
from devices.edge.post import BrokerPost
from devices.edge.runtime import Runtime
from devices.edge.settings import BadSetting, Settings

logger = logging.getLogger(__name__)

FAREWELL_S = 1.0  # given to the worker to take leave of the broker

T = TypeVar("T")

app = Celery("edge", set_as_current=False, fixups=[])  # no Django here, whatever the environment says
app.conf.update(
    options(
        os.environ.get("LABSITE_BROKER_URL", "").strip(), f"edge.{os.environ.get('LABSITE_EDGE', '').strip()}"
    ),
    worker_consumer="devices.edge.app:EdgeConsumer",
    worker_pool="threads",
    worker_concurrency=2,
    worker_log_color=False,
    task_acks_late=True,
    task_default_queue=f"edge.{os.environ.get('LABSITE_EDGE', '').strip()}",
)

running: Runtime | None = None


class EdgeConsumer(SteadyConsumer):
    """Tells the uplink when the broker is there again."""

    def ensure_connected(self, conn: Any) -> Any:
        connection = super().ensure_connected(conn)
        if running is not None:
            running.broker_is_back()
        return connection


class Polling(bootsteps.StartStopStep):
    """Runs the polling loop for as long as the worker lives."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self.worker = worker

    def start(self, worker: Any) -> None:  # noqa: ARG002 - called by Celery
        prepare(self.listen).start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002
        stop()

    terminate = stop

    def listen(self, on: bool) -> None:
        """Consume this edge's queue or leave it to the instance that holds the name."""
        consumer = getattr(self.worker, "consumer", None)
        if consumer is not None and running is not None:
            act = consumer.add_task_queue if on else consumer.cancel_task_queue
            consumer.call_soon(act, running.settings.queue)


app.steps["worker"].add(Polling)


def prepare(listen: Any = None) -> Runtime:
    """The process's one runtime, not yet started. Exits with one line if the environment is not fit."""
    global running  # noqa: PLW0603 - the process's one runtime
    try:
        if running is None:
            settings = Settings.read()
            running = Runtime(settings, BrokerPost(app, settings))
    except BadSetting as error:
        raise SystemExit(f"labsite edge: {error}") from None
    if listen is not None:
        running.uplink.listen = listen
    return running


@worker_shutdown.connect
def stop(**kwargs: Any) -> None:  # noqa: ARG001 - a signal's receiver
    """Stop polling, with everything saved."""
    if running is not None:
        running.stop()


@worker_shutting_down.connect
def end_soon(**kwargs: Any) -> None:  # noqa: ARG001 - a signal's receiver
    """On SIGTERM: save everything at once, and do not wait for a broker that says nothing.

    Celery takes leave of the broker first, which may take as long as a connection's silence is borne.
    """
    threading.Thread(target=_end, name="end", daemon=True).start()


def _end() -> None:
    stop()
    time.sleep(FAREWELL_S)
    if running is not None:
        logger.warning("the broker does not answer; everything is saved, so the process ends without it")
        logging.shutdown()
        os._exit(0)


def _opened(raw: object, expected: type[T]) -> tuple[Runtime, T] | None:
    """What is in an envelope, if it is this edge's; what is not authentic is logged and dropped."""
    if running is None:
        return None
    try:
        _, message = wire.open_envelope(raw, expected, running.settings.key_of)
    except wire.WireError as error:
        logger.warning("a message was dropped: %s: %s", type(error).__name__, error)
        return None
    return running, message


def _in_one_line(record: logging.LogRecord) -> bool:
    """What goes back into the queue is no fault, though Celery warns of it with a traceback."""
    if record.exc_info and record.exc_info[0] is Reject:
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
    return True


logging.getLogger("celery.app.trace").addFilter(_in_one_line)


def _leave_to_holder(task: Task[..., None], runtime: Runtime) -> None:
    """What an instance that does not hold the name took from the queue goes back, once."""
    if not runtime.uplink.holder and not task.request.delivery_info.get("redelivered"):
        raise Reject("another instance holds the name", requeue=True)


@app.task(name="edge.poll", bind=True)
def poll(self: Task[..., None], envelope: dict[str, Any]) -> None:
    """One instrument's standing order, or a single poll of it."""
    if opened := _opened(envelope, wire.Poll):
        runtime, message = opened
        _leave_to_holder(self, runtime)
        runtime.poll(message)


@app.task(name="edge.stop", bind=True)
def stop_order(self: Task[..., None], envelope: dict[str, Any]) -> None:
    """An instrument is polled no more."""
    if opened := _opened(envelope, wire.Stop):
        runtime, message = opened
        _leave_to_holder(self, runtime)
        runtime.stop_order(message)


@app.task(name="edge.book", bind=True)
def book(self: Task[..., None], envelope: dict[str, Any]) -> None:
    """All instruments there are, with or without their orders."""
    if opened := _opened(envelope, wire.Book):
        runtime, message = opened
        _leave_to_holder(self, runtime)
        runtime.book_told(message)


@app.task(name="edge.ack", bind=True)
def ack(self: Task[..., None], envelope: dict[str, Any]) -> None:
    """What became of batches."""
    if opened := _opened(envelope, wire.Ack):
        runtime, message = opened
        _leave_to_holder(self, runtime)
        runtime.acknowledged(message)


@app.task(name="edge.welcome", bind=True)
def welcome(self: Task[..., None], envelope: dict[str, Any]) -> None:
    """The answer to a hello; one for another instance that may live goes back into the queue, once."""
    if opened := _opened(envelope, wire.Welcome):
        runtime, message = opened
        if message.instance == runtime.instance:
            runtime.welcomed(message)
        elif message.instance == runtime.previous:
            logger.info("an answer to the process before this one is dropped")
        elif not self.request.delivery_info.get("redelivered"):
            raise Reject("for another instance", requeue=True)
