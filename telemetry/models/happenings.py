"""What happened at instruments, and what is missing of them."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from devices.models import Edge, Instrument


class TextHash(models.Func):
    """64 bits of a text that may be too long for an index."""

    function = "hashtextextended"
    template = "%(function)s(%(expressions)s, 0)"
    output_field = models.BigIntegerField()


class Event(models.Model):
    """Something that happened at an instrument, as it said; told twice it is one."""

    instrument = models.ForeignKey(
        Instrument, models.CASCADE, db_index=False, related_name="events", verbose_name=_("instrument")
    )
    time = models.DateTimeField(_("time"))
    kind = models.CharField(_("kind"), max_length=60)
    text = models.TextField(_("text"))
    fields = models.JSONField(_("fields"), default=dict)
    flags = models.SmallIntegerField(default=0)  # devices.readings.Flag, of its time

    class Meta:
        db_table = "event"
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-time", "-id"]
        constraints = [
            models.UniqueConstraint(
                "instrument", "time", "kind", TextHash("text"), name="one_event_per_time_kind_and_text"
            )
        ]
        indexes = [models.Index(fields=["time", "id"], name="events_by_time")]

    def __str__(self) -> str:
        return f"{self.kind}, {self.time}: {self.text[:60]}"


class Gap(models.Model):
    """When readings are missing, and why. No instrument: all of the edge; no key: all channels."""

    edge = models.ForeignKey(Edge, models.CASCADE, related_name="gaps", verbose_name=_("edge"))
    instrument = models.ForeignKey(
        Instrument, models.CASCADE, null=True, related_name="gaps", verbose_name=_("instrument")
    )
    key = models.CharField(_("channel"), max_length=100, default="")
    start = models.DateTimeField(_("from"))
    end = models.DateTimeField(_("to"))
    reason = models.CharField(_("reason"), max_length=60)
    count = models.PositiveIntegerField(_("polls missed"), default=0)

    class Meta:
        db_table = "gap"
        verbose_name = _("gap")
        verbose_name_plural = _("gaps")
        ordering = ["-start"]
        constraints = [
            models.UniqueConstraint(
                fields=["edge", "instrument", "key", "start", "reason"],
                nulls_distinct=False,
                name="one_gap_per_start_and_reason",
            )
        ]
        indexes = [
            models.Index(fields=["instrument", "start"], name="gap_of_instrument"),
            models.Index(fields=["end"], name="gaps_by_end"),
        ]

    def __str__(self) -> str:
        return f"{self.reason}, {self.start} to {self.end}"
