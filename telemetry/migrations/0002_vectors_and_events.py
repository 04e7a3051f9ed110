"""Vectors, partitioned by day as samples are, and events."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import telemetry.models

# What is stored once, by which key and in which partition, is the same as of `sample`.
VECTORS = """
CREATE TABLE vector_sample (
    time timestamptz NOT NULL,
    channel_id int4 NOT NULL,
    quality int2 NOT NULL DEFAULT 0,
    "values" float8[] NOT NULL,
    labels text[],
    PRIMARY KEY (channel_id, time)
) PARTITION BY RANGE (time);
CREATE TABLE vector_sample_demo (LIKE vector_sample INCLUDING ALL) PARTITION BY RANGE (time);
CREATE TABLE vector_sample_far (LIKE vector_sample INCLUDING ALL);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0004_runs"),
        ("telemetry", "0001_readings"),
    ]

    operations = [
        migrations.RunSQL(VECTORS, "DROP TABLE vector_sample, vector_sample_demo, vector_sample_far"),
        migrations.CreateModel(
            name="VectorSample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "time", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("time", models.DateTimeField()),
                ("channel_id", models.IntegerField()),
                ("quality", models.SmallIntegerField(default=0)),
                (
                    "values",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.FloatField(null=True), size=None
                    ),
                ),
                (
                    "labels",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), null=True, size=None
                    ),
                ),
            ],
            options={
                "db_table": "vector_sample",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="VectorSampleDemo",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "time", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("time", models.DateTimeField()),
                ("channel_id", models.IntegerField()),
                ("quality", models.SmallIntegerField(default=0)),
                (
                    "values",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.FloatField(null=True), size=None
                    ),
                ),
                (
                    "labels",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), null=True, size=None
                    ),
                ),
            ],
            options={
                "db_table": "vector_sample_demo",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="VectorSampleFar",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "time", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("time", models.DateTimeField()),
                ("channel_id", models.IntegerField()),
                ("quality", models.SmallIntegerField(default=0)),
                (
                    "values",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.FloatField(null=True), size=None
                    ),
                ),
                (
                    "labels",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), null=True, size=None
                    ),
                ),
            ],
            options={
                "db_table": "vector_sample_far",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("time", models.DateTimeField(verbose_name="time")),
                ("kind", models.CharField(max_length=60, verbose_name="kind")),
                ("text", models.TextField(verbose_name="text")),
                ("fields", models.JSONField(default=dict, verbose_name="fields")),
                ("flags", models.SmallIntegerField(default=0)),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="devices.instrument",
                        verbose_name="instrument",
                    ),
                ),
            ],
            options={
                "verbose_name": "event",
                "verbose_name_plural": "events",
                "db_table": "event",
                "ordering": ["-time", "-id"],
                "indexes": [models.Index(fields=["time", "id"], name="events_by_time")],
                "constraints": [
                    models.UniqueConstraint(
                        models.F("instrument"),
                        models.F("time"),
                        models.F("kind"),
                        telemetry.models.TextHash("text"),
                        name="one_event_per_time_kind_and_text",
                    )
                ],
            },
        ),
    ]
