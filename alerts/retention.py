"""How long the journal, notices and happenings are kept: as long as events of instruments."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from alerts.lifecycle import STANDING
from alerts.models import AlarmEvent, Happening, Notice, NoticeState

ROWS_AT_ONCE = 2_000


def drop_expired(now: datetime) -> None:
    """Delete what was kept long enough, some at a time; of what waits or stands nothing."""
    oldest = now - timedelta(days=settings.EVENT_RETENTION_DAYS)
    _drop(Notice.objects.filter(created_at__lt=oldest).exclude(state=NoticeState.WAITING))
    _drop(Happening.objects.filter(stored_at__lt=oldest, told_at__isnull=False, lines=None))
    journal = AlarmEvent.objects.filter(stored_at__lt=oldest, told_at__isnull=False, lines=None)
    _drop(journal.exclude(alarm__state__in=STANDING))


def _drop(rows: QuerySet[Any]) -> None:
    while True:
        with transaction.atomic():
            some = list(rows.order_by("pk").values_list("pk", flat=True)[:ROWS_AT_ONCE])
            rows.filter(pk__in=some).delete()
        if len(some) < ROWS_AT_ONCE:
            return
