"""Readings rolled up to minutes and hours (telemetry.rollups); their tables are made in SQL."""

from django.db import models

from devices.models import Channel


class Rollup(models.Model):
    """What a channel said in one bucket of time.

    `n` readings that are not bad, of whose numbers `min`, `max`, `sum` and `last` are; `bad` readings beside
    them. `text`: the last text of a channel that says words.
    """

    pk = models.CompositePrimaryKey("channel_id", "bucket")
    bucket = models.DateTimeField()
    min = models.FloatField(null=True)
    max = models.FloatField(null=True)
    sum = models.FloatField(null=True)
    last = models.FloatField(null=True)
    channel_id = models.IntegerField()
    n = models.IntegerField()
    bad = models.IntegerField()
    text = models.TextField(null=True)  # noqa: DJ001 - absent is not the same as empty

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.channel_id} at {self.bucket}: {self.n}"


class RollupMinute(Rollup):
    """One partition a week."""

    class Meta:
        managed = False
        db_table = "rollup_minute"


class RollupHour(Rollup):
    """One partition a month."""

    class Meta:
        managed = False
        db_table = "rollup_hour"


class RollupMark(models.Model):
    """How far buckets of one width are rolled up.

    A reading from before `closing` marks its bucket as one to be computed again; up to `published` all
    buckets are computed, but for those that are marked.
    """

    width = models.CharField(max_length=10, primary_key=True)  # "minute" or "hour"
    closing = models.DateTimeField()
    published = models.DateTimeField()

    class Meta:
        db_table = "rollup_mark"

    def __str__(self) -> str:
        return f"{self.width}s up to {self.published}"


class DirtyBucket(models.Model):
    """A minute of a channel in which a reading came late; only added, and deleted by ids that were read."""

    channel_id = models.IntegerField()
    bucket = models.DateTimeField()

    class Meta:
        db_table = "rollup_dirty"
        indexes = [models.Index(fields=["channel_id", "bucket"], name="dirty_of_channel")]

    def __str__(self) -> str:
        return f"{self.channel_id} at {self.bucket}"


class DropMark(models.Model):
    """Partitions of a table up to here were dropped: roll-ups of that time stand, whatever comes in late."""

    table_name = models.CharField(max_length=40, primary_key=True)
    through = models.DateTimeField()

    class Meta:
        db_table = "drop_mark"

    def __str__(self) -> str:
        return f"{self.table_name} up to {self.through}"


class FormerClass(models.Model):
    """A retention class that a channel had until then: its readings of that time are in that family. Written
    by a trigger of the database (migration 0005)."""

    pk = models.CompositePrimaryKey("channel_id", "retention")
    channel = models.ForeignKey(Channel, models.CASCADE, db_index=False, related_name="+")
    retention = models.CharField(max_length=20)
    until = models.DateTimeField()

    class Meta:
        db_table = "former_class"

    def __str__(self) -> str:
        return f"{self.channel_id}: {self.retention} until {self.until}"
