"""The central Celery app: beat, the ingest worker and the central worker. Edges have their own."""

import logging.config
import os
from datetime import timedelta
from typing import Any

from celery import Celery
from celery.signals import setup_logging, task_postrun, task_prerun
from django.conf import settings
from django.db import close_old_connections, connection

from devices.broker import options

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labsite.settings")
# Celery would load all pages and the API for them (40 MB in each process), and not look at the outcome.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

app = Celery("labsite")
app.set_default()  # in every thread
app.conf.update(options(settings.BROKER_URL, "central"))
app.conf.update(
    task_default_queue="central",
    task_routes={f"labsite.{name}": {"queue": "ingest"} for name in ("ingest", "hello", "tested")},
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
    worker_redirect_stdouts=False,
    CELERY_DB_REUSE_MAX=10_000,  # else Celery opens a new connection to the database for each task
    timezone="UTC",
    beat_scheduler="devices.schedule.OrderScheduler",
    beat_schedule={
        "keep partitions": {
            "task": "telemetry.keep_partitions",
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600},
        },
        "roll up": {
            "task": "telemetry.roll_up",
            "schedule": timedelta(minutes=1),
            "options": {"expires": 60},
        },
        "forget old alarms": {
            "task": "alerts.forget_old",
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600},
        },
    },
)
app.autodiscover_tasks()


@setup_logging.connect
def log_as_all_do(**_: Any) -> None:
    """With a receiver here Celery leaves the log's form alone."""
    logging.config.dictConfig(settings.LOGGING)


@task_prerun.connect
@task_postrun.connect
def renew_connection(**_: Any) -> None:
    """Give up a connection to the database that broke; the next statement opens another."""
    if not connection.in_atomic_block:
        close_old_connections()
