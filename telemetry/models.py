"""What was measured: samples in partitions by day, what is missing, and what came in which batch."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devices.models import Edge, Instrument


class Reading(models.Model):
    """A stored reading. The tables are made in SQL (migration 0001): columns in the order that packs best."""

    pk = models.CompositePrimaryKey("channel_id", "time")
    time = models.DateTimeField()
    value = models.FloatField(null=True)  # NULL: no number, which a good reading has or its `text`
    channel_id = models.IntegerField()
    quality = models.SmallIntegerField(default=0)  # devices.readings: Quality and Flags
    text = models.TextField(null=True)  # noqa: DJ001 - absent is not the same as empty

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.channel_id} at {self.time}: {self.value}"


class Sample(Reading):
    """Readings of channels of retention class "standard", one partition a day."""

    class Meta:
        managed = False
        db_table = "sample"


class SampleDemo(Reading):
    """Readings of channels of retention class "demo", one partition a day."""

    class Meta:
        managed = False
        db_table = "sample_demo"


class SampleFar(Reading):
    """Readings whose time cannot be right: ahead of the centre's clock, or more than a year too old."""

    class Meta:
        managed = False
        db_table = "sample_far"


class VectorReading(models.Model):
    """A stored reading of many numbers. The tables are made in SQL (migration 0002), as those of samples."""

    pk = models.CompositePrimaryKey("channel_id", "time")
    time = models.DateTimeField()
    channel_id = models.IntegerField()
    quality = models.SmallIntegerField(default=0)
    values = ArrayField(models.FloatField(null=True))
    labels = ArrayField(models.TextField(), null=True)  # what each value is of

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.channel_id} at {self.time}: {len(self.values)} values"


class VectorSample(VectorReading):
    """Vectors of channels of retention class "standard", one partition a day."""

    class Meta:
        managed = False
        db_table = "vector_sample"


class VectorSampleDemo(VectorReading):
    """Vectors of channels of retention class "demo", one partition a day."""

    class Meta:
        managed = False
        db_table = "vector_sample_demo"


class VectorSampleFar(VectorReading):
    """Vectors whose time cannot be right."""

    class Meta:
        managed = False
        db_table = "vector_sample_far"


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


class Delivery(models.Model):
    """A batch that is at the centre; rows up to the spool's mark are pruned."""

    pk = models.CompositePrimaryKey("edge_id", "spool", "sequence")
    edge = models.ForeignKey(Edge, models.CASCADE, db_index=False, related_name="+")
    spool = models.UUIDField()
    sequence = models.BigIntegerField()

    class Meta:
        db_table = "batch"

    def __str__(self) -> str:
        return f"{self.edge_id} {self.spool} {self.sequence}"


class SpoolMark(models.Model):
    """Every batch of this spool up to `through` is at the centre."""

    pk = models.CompositePrimaryKey("edge_id", "spool")
    edge = models.ForeignKey(Edge, models.CASCADE, db_index=False, related_name="+")
    spool = models.UUIDField()
    through = models.BigIntegerField()

    class Meta:
        db_table = "spool_mark"

    def __str__(self) -> str:
        return f"{self.edge_id} {self.spool} through {self.through}"


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
        indexes = [models.Index(fields=["instrument", "start"], name="gap_of_instrument")]

    def __str__(self) -> str:
        return f"{self.reason}, {self.start} to {self.end}"


class RejectedBatch(models.Model):
    """A batch of which something could not be stored, byte for byte; `manage.py reingest` tries it again."""

    edge = models.ForeignKey(Edge, models.CASCADE, related_name="rejected", verbose_name=_("edge"))
    spool = models.UUIDField(_("spool"))
    sequence = models.BigIntegerField(_("sequence"))
    shift = models.BigIntegerField(_("shift of its times, µs"), default=0)
    packed = models.BinaryField()
    reason = models.TextField(_("reason"))
    stored = models.BooleanField(_("the rest is stored"))  # only single readings were refused
    rejected_at = models.DateTimeField(_("rejected"), default=timezone.now)

    class Meta:
        db_table = "rejected_batch"
        verbose_name = _("rejected batch")
        verbose_name_plural = _("rejected batches")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["edge", "spool", "sequence"], name="one_rejection_per_batch")
        ]

    def __str__(self) -> str:
        return f"{self.spool} {self.sequence}: {self.reason}"
