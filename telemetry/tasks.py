"""What beat has done for the tables that grow."""

from celery import shared_task
from django.utils import timezone

from devices import trials
from telemetry import events, partitions, rollups, runs
from telemetry.sinks import pruning
from telemetry.thinning import policies


@shared_task(name="telemetry.keep_partitions", ignore_result=True)
def keep_partitions() -> None:
    """Make the partitions of the next days, drop those kept long enough, and forget old tests of connections.

    Running it twice does no harm.
    """
    now = timezone.now()
    partitions.make_ahead(now)
    pruning.prune(now)
    partitions.drop_expired(now)
    events.drop_expired(now)
    runs.drop_expired(now)
    policies.forget_old(now)
    trials.forget_old(now)


@shared_task(name="telemetry.roll_up", ignore_result=True)
def roll_up() -> None:
    """Roll the readings of closed minutes and hours up. Two at once, or killed at any point, do no harm."""
    rollups.roll_up(timezone.now())
