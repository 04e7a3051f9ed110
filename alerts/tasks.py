"""What beat has done for the tables of alarms that grow."""

from celery import shared_task
from django.utils import timezone

from alerts import retention


@shared_task(name="alerts.forget_old", ignore_result=True)
def forget_old() -> None:
    """Delete journal rows, notices and happenings that were kept long enough. Twice does no harm."""
    retention.drop_expired(timezone.now())
