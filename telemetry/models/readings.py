"""Stored readings and vectors. The tables are made in SQL (migrations 0001 to 0003): columns in the order
that packs best, one family of partitions for each retention class."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Reading(models.Model):
    """A stored reading."""

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


class SampleLong(Reading):
    """Readings of channels of retention class "long", one partition a month."""

    class Meta:
        managed = False
        db_table = "sample_long"


class AnySample(Reading):
    """Readings of any family."""

    class Meta:
        managed = False
        db_table = "samples"


class SampleFar(Reading):
    """Readings whose time cannot be right: ahead of the centre's clock, or more than a year too old."""

    class Meta:
        managed = False
        db_table = "sample_far"


class VectorReading(models.Model):
    """A stored reading of many numbers."""

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


class VectorSampleLong(VectorReading):
    """Vectors of channels of retention class "long", one partition a month."""

    class Meta:
        managed = False
        db_table = "vector_sample_long"


class AnyVector(VectorReading):
    """Vectors of any family."""

    class Meta:
        managed = False
        db_table = "vector_samples"


class VectorSampleFar(VectorReading):
    """Vectors whose time cannot be right."""

    class Meta:
        managed = False
        db_table = "vector_sample_far"
