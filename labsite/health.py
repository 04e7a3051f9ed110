"""Is this process able to work: does it reach its database and its broker? Told to anyone who asks."""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from django.conf import settings
from django.db import Error, connection
from kombu.connection import Connection

TIMEOUT_S = 2
KEPT_S = 1.0  # how long an answer serves everybody who asks: no stranger can make us connect more often

logger = logging.getLogger(__name__)
_lock = Lock()
# kombu and redis try again by themselves and take longer than we may: they are asked on the side.
_threads = ThreadPoolExecutor(4, "health")
_answered = (float("-inf"), {"process": True, "database": False, "broker": False})


def check() -> dict[str, bool]:
    """What works, by name; at most `KEPT_S` old. Takes `TIMEOUT_S` at the most."""
    global _answered  # noqa: PLW0603 - one answer for all threads
    with _lock:
        if time.monotonic() - _answered[0] >= KEPT_S:
            asked = {"database": _threads.submit(ask_database), "broker": _threads.submit(ask_broker)}
            end = time.monotonic() + TIMEOUT_S
            verdict = {name: works(name, answer, end) for name, answer in asked.items()}
            _answered = (time.monotonic(), {"process": True, **verdict})
        return dict(_answered[1])


def works(name: str, answer: Future[None], end: float) -> bool:
    """Whether it answered well until `end`. What went wrong is for the log, not for who asked."""
    try:
        answer.result(max(0.0, end - time.monotonic()))
    except (Error, OSError) as error:  # TimeoutError is one of the latter
        logger.warning("health: %s: %s", name, str(error) or "no answer in time")
        return False
    return True


def ask_database() -> None:
    """One question on a new connection: one from before the network fell silent would hang."""
    own = connection.copy()
    options = own.settings_dict["OPTIONS"]
    options.pop("pool", None)
    options.update(
        connect_timeout=TIMEOUT_S,
        tcp_user_timeout=TIMEOUT_S * 1000,
        options=f"-c statement_timeout={TIMEOUT_S * 1000}",
    )
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        own.close()


def ask_broker() -> None:
    """Open a channel, which with Redis is a PING. Raises OSError."""
    redis_options = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    is_redis = settings.BROKER_URL.startswith(("redis", "valkey", "sentinel", "unix"))
    broker = Connection(
        settings.BROKER_URL,
        connect_timeout=TIMEOUT_S,
        transport_options=redis_options if is_redis else {},
    )
    errors = broker.connection_errors + broker.channel_errors
    try:
        with broker:
            broker.connect()
            broker.channel().close()
    except errors as error:
        raise OSError(str(error)) from error
