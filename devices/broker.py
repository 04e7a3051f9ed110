"""How both sides hold on to the broker through silence, restarts and hours without it. No Django."""

from typing import Any
from urllib.parse import urlsplit

from celery.utils.log import get_logger
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

SILENCE_S = 5.0  # of a connection, before it counts as dead
VISIBILITY_S = 300  # a message taken by a process that was killed is handed out again after this

logger = get_logger(__name__)


def options(url: str, party: str) -> dict[str, Any]:
    """Celery's settings for a party ("central", or an edge's queue) that talks through this broker."""
    return {
        "broker_url": url,
        "broker_transport_options": transport_options(url, party),
        "broker_connection_timeout": SILENCE_S,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_heartbeat": 10,
        "result_backend": None,
        "result_expires": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_consumer": "devices.broker:SteadyConsumer",
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_hijack_root_logger": False,
    }


def transport_options(url: str, party: str) -> dict[str, Any]:
    """What makes a silently dropped connection end within seconds (Celery's own defaults never notice it).

    Each party keeps the messages it has taken under Redis keys of its own, so that an access list in the
    broker can keep edges apart and none hands out another's.
    """
    if not urlsplit(url).scheme.startswith(("redis", "sentinel", "valkey")):
        return {"confirm_publish": True, "write_timeout": SILENCE_S}
    return {
        "socket_timeout": SILENCE_S,
        "socket_connect_timeout": SILENCE_S,
        "socket_keepalive": True,
        "health_check_interval": SILENCE_S,
        "visibility_timeout": VISIBILITY_S,
        "unacked_key": f"unacked.{party}",
        "unacked_index_key": f"unacked_index.{party}",
        "unacked_mutex_key": f"unacked_mutex.{party}",
    }


class SteadyConsumer(Consumer):
    """A worker's consumer that is back seconds after the broker is, and says nothing to other workers."""

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        quiet = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **quiet}, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's own, but for the gaps between tries, which there grow to 30 s and cannot be set."""

        def say(error: Exception, gap: float) -> None:
            logger.warning(
                "no connection to the broker at %s: %s; next try in %.0f s", conn.as_uri(), error, gap
            )

        conn.ensure_connection(
            say, None, interval_start=1, interval_step=1, interval_max=5, callback=maybe_shutdown
        )
        self.first_connection_attempt = False
        return conn
