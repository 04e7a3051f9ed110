"""The central Celery app: beat, the ingest worker and the central worker. Edges have their own."""

import os
from datetime import timedelta

from celery import Celery
from django.conf import settings

from devices.broker import options

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labsite.settings")

app = Celery("labsite")
app.conf.update(options(settings.BROKER_URL, "central"))
app.conf.update(
    task_default_queue="central",
    task_routes={"labsite.ingest": {"queue": "ingest"}, "labsite.hello": {"queue": "ingest"}},
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
    worker_redirect_stdouts=False,
    timezone="UTC",
    beat_scheduler="devices.schedule.OrderScheduler",
    beat_schedule={
        "keep partitions": {
            "task": "telemetry.keep_partitions",
            "schedule": timedelta(hours=1),
            "options": {"expires": 3600},
        },
    },
)
app.autodiscover_tasks()
