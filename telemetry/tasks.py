"""What beat has done for the sample tables."""

from celery import shared_task
from django.utils import timezone

from telemetry import partitions


@shared_task(name="telemetry.keep_partitions", ignore_result=True)
def keep_partitions() -> None:
    """Make the partitions of the next days and drop those kept long enough. Running it twice does no harm."""
    now = timezone.now()
    partitions.make_ahead(now)
    partitions.drop_expired(now)
