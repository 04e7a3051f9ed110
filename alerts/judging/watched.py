"""The alarms of rules on channels: those there are, and new ones."""

from collections.abc import Iterable

from alerts.judging import naming
from alerts.judging.rulebook import Book, Watch
from alerts.lifecycle import State
from alerts.models import Alarm
from telemetry.times import moment


def new_alarm(book: Book, watch: Watch, at: int) -> Alarm:
    """An alarm of a rule on a channel, for its first trouble."""
    instrument = book.instruments[watch.place.instrument]
    alarm = Alarm(
        rule=watch.rule,
        edge_id=book.edge_id,
        instrument=instrument,
        channel_id=watch.place.id,
        since=moment(int(at)),
    )
    _name(alarm, watch)
    return alarm


def _name(alarm: Alarm, watch: Watch) -> None:
    alarm.text = naming.of_watch(watch, alarm.instrument.name if alarm.instrument else "")
    alarm.priority = watch.priority


def alarms(book: Book, numbers: Iterable[int]) -> dict[tuple[int, int], Alarm]:
    """The alarms there are of these watches, by rule and channel."""
    watches = {(book.watches[n].rule.pk, book.watches[n].place.id): book.watches[n] for n in numbers}
    channels = {channel for _, channel in watches}
    found = {}
    for alarm in Alarm.objects.filter(edge=book.edge_id, channel__in=channels):
        key = (alarm.rule_id, alarm.channel_id or 0)
        if key in watches:
            alarm.rule = watches[key].rule
            alarm.instrument = book.instruments[watches[key].place.instrument]
            if alarm.state == State.NORMAL:
                _name(alarm, watches[key])  # the limit may be another by now
            found[key] = alarm
    return found
