"""How many alarms stand: the number in the bar of each page, and what tells a list that it is old."""

from typing import NamedTuple

from django.db import connection

from alerts.lifecycle import STANDING, UNACKNOWLEDGED
from alerts.models import Priority
from labsite.pages.alarm_shown import shape


def _words(states: tuple[str, ...]) -> str:
    return ", ".join(f"'{state}'" for state in states)


def _counts() -> str:
    return ", ".join(f"count(*) FILTER (WHERE is_new AND priority = {each})" for each in Priority.values)


# The revision changes whenever a list would look different. It depends neither on who counts nor on the order
# of commits, and a browser's numbers hold it exactly (2^53 - 1).
QUESTION = f"""
SELECT ARRAY[{_counts()}],
  count(*) FILTER (WHERE is_standing),
  (coalesce(bit_xor(hashtextextended(seen, 0)), 0)
    # (SELECT coalesce(max(id), 0) FROM alerts_alarmevent)) & 9007199254740991,
  coalesce(array_agg(DISTINCT channel_id) FILTER (WHERE is_standing AND channel_id IS NOT NULL), '{{}}')
FROM (
  SELECT priority, channel_id, state IN ({_words(UNACKNOWLEDGED)}) AS is_new,
    state IN ({_words(STANDING)}) AS is_standing,
    concat_ws('|', id, state, priority, extract(epoch FROM since), cause_id,
      extract(epoch FROM aside_until)) AS seen
  FROM alerts_alarm WHERE state <> 'normal'
) AS alarm
"""  # noqa: S608 - of constants


class Tally(NamedTuple):
    """How many alarms stand, and a number that changes with what there is to see of them."""

    counts: list[int]  # unacknowledged ones, by priority
    standing: int
    revision: int
    channels: list[int]  # of which one stands

    @classmethod
    def now(cls) -> "Tally":
        with connection.cursor() as cursor:
            cursor.execute(QUESTION)
            return cls(*cursor.fetchone())

    @property
    def unacknowledged(self) -> int:
        return sum(self.counts)

    @property
    def highest(self) -> int:
        """The priority of the most important one that nobody has acknowledged; 0: there is none."""
        return next((priority for priority, count in enumerate(self.counts, start=1) if count), 0)

    @property
    def shape(self) -> str:
        return shape(self.highest)
