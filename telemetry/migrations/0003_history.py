"""Roll-ups, the class "long", the outbox of the sinks, and what ingest must know of channels."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

TABLES = """
CREATE TABLE sample_long (LIKE sample INCLUDING ALL) PARTITION BY RANGE (time);
CREATE TABLE vector_sample_long (LIKE vector_sample INCLUDING ALL) PARTITION BY RANGE (time);

CREATE TABLE rollup_minute (
    bucket timestamptz NOT NULL,
    min float8,
    max float8,
    sum float8,
    last float8,
    channel_id int4 NOT NULL,
    n int4 NOT NULL,
    bad int4 NOT NULL,
    text text,
    PRIMARY KEY (channel_id, bucket)
) PARTITION BY RANGE (bucket);
CREATE TABLE rollup_hour (LIKE rollup_minute INCLUDING ALL) PARTITION BY RANGE (bucket);

CREATE SEQUENCE outbox_id;
CREATE TABLE outbox (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id int8 NOT NULL DEFAULT nextval('outbox_id'),
    stored_at timestamptz NOT NULL,
    payload bytea NOT NULL
) PARTITION BY RANGE (stored_at);
ALTER TABLE outbox ALTER payload SET STORAGE EXTERNAL;  -- it is compressed already
CREATE INDEX outbox_in_order ON outbox (xid, id);
"""
NO_TABLES = (
    "DROP TABLE outbox, rollup_hour, rollup_minute, vector_sample_long, sample_long; DROP SEQUENCE outbox_id"
)

# Of whatever family: a channel's class may have changed.
VIEWS = """
CREATE VIEW samples AS
    SELECT time, value, channel_id, quality, text FROM sample
    UNION ALL SELECT time, value, channel_id, quality, text FROM sample_demo
    UNION ALL SELECT time, value, channel_id, quality, text FROM sample_long;
CREATE VIEW vector_samples AS
    SELECT time, channel_id, quality, "values", labels FROM vector_sample
    UNION ALL SELECT time, channel_id, quality, "values", labels FROM vector_sample_demo
    UNION ALL SELECT time, channel_id, quality, "values", labels FROM vector_sample_long;
"""
NO_VIEWS = "DROP VIEW vector_samples, samples"

# What ingest looks up once and remembers is looked up again when the count has changed.
TRIGGERS = """
CREATE FUNCTION labsite_definition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO definition_mark AS mark (id, revision) VALUES (1, 1)
    ON CONFLICT (id) DO UPDATE SET revision = mark.revision + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER definition AFTER INSERT OR UPDATE OR DELETE ON storage_policy
    FOR EACH STATEMENT EXECUTE FUNCTION labsite_definition();
CREATE TRIGGER definition AFTER INSERT OR UPDATE OR DELETE ON computed_channel
    FOR EACH STATEMENT EXECUTE FUNCTION labsite_definition();
CREATE TRIGGER definition AFTER INSERT OR UPDATE OR DELETE ON calibration
    FOR EACH STATEMENT EXECUTE FUNCTION labsite_definition();
CREATE TRIGGER definition AFTER UPDATE OF retention ON devices_channel
    FOR EACH STATEMENT EXECUTE FUNCTION labsite_definition();
"""
NO_TRIGGERS = """
DROP TRIGGER definition ON devices_channel;
DROP TRIGGER definition ON calibration;
DROP TRIGGER definition ON computed_channel;
DROP TRIGGER definition ON storage_policy;
DROP FUNCTION labsite_definition
"""


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0006_tags"),
        ("telemetry", "0002_vectors_and_events"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.RunSQL(TABLES, NO_TABLES),
        migrations.RunSQL(VIEWS, NO_VIEWS),
        migrations.CreateModel(
            name="AnySample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "time", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("time", models.DateTimeField()),
                ("value", models.FloatField(null=True)),
                ("channel_id", models.IntegerField()),
                ("quality", models.SmallIntegerField(default=0)),
                ("text", models.TextField(null=True)),
            ],
            options={
                "db_table": "samples",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="AnyVector",
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
                "db_table": "vector_samples",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="RollupHour",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "bucket", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("bucket", models.DateTimeField()),
                ("min", models.FloatField(null=True)),
                ("max", models.FloatField(null=True)),
                ("sum", models.FloatField(null=True)),
                ("last", models.FloatField(null=True)),
                ("channel_id", models.IntegerField()),
                ("n", models.IntegerField()),
                ("bad", models.IntegerField()),
                ("text", models.TextField(null=True)),
            ],
            options={
                "db_table": "rollup_hour",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="RollupMinute",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "bucket", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("bucket", models.DateTimeField()),
                ("min", models.FloatField(null=True)),
                ("max", models.FloatField(null=True)),
                ("sum", models.FloatField(null=True)),
                ("last", models.FloatField(null=True)),
                ("channel_id", models.IntegerField()),
                ("n", models.IntegerField()),
                ("bad", models.IntegerField()),
                ("text", models.TextField(null=True)),
            ],
            options={
                "db_table": "rollup_minute",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="SampleLong",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "time", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("time", models.DateTimeField()),
                ("value", models.FloatField(null=True)),
                ("channel_id", models.IntegerField()),
                ("quality", models.SmallIntegerField(default=0)),
                ("text", models.TextField(null=True)),
            ],
            options={
                "db_table": "sample_long",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="VectorSampleLong",
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
                "db_table": "vector_sample_long",
                "managed": False,
            },
        ),
        migrations.CreateModel(
            name="DefinitionMark",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("revision", models.BigIntegerField(default=1)),
            ],
            options={
                "db_table": "definition_mark",
            },
        ),
        migrations.CreateModel(
            name="DirtyBucket",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("channel_id", models.IntegerField()),
                ("bucket", models.DateTimeField()),
            ],
            options={
                "db_table": "rollup_dirty",
            },
        ),
        migrations.CreateModel(
            name="PolicyState",
            fields=[
                (
                    "channel",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="devices.channel",
                    ),
                ),
                ("time", models.DateTimeField()),
                ("value", models.FloatField(null=True)),
                ("quality", models.SmallIntegerField(default=0)),
                ("text", models.TextField(null=True)),
                ("held_time", models.DateTimeField(null=True)),
                ("held_value", models.FloatField(null=True)),
                ("held_quality", models.SmallIntegerField(default=0)),
                ("held_text", models.TextField(null=True)),
            ],
            options={
                "db_table": "policy_state",
            },
        ),
        migrations.CreateModel(
            name="RollupMark",
            fields=[
                ("width", models.CharField(max_length=10, primary_key=True, serialize=False)),
                ("closing", models.DateTimeField()),
                ("published", models.DateTimeField()),
            ],
            options={
                "db_table": "rollup_mark",
            },
        ),
        migrations.CreateModel(
            name="Sink",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.SlugField(max_length=40, unique=True, verbose_name="name")),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "api",
                    models.CharField(
                        choices=[
                            ("v1", "InfluxDB before 1.8: /write"),
                            ("v2", "InfluxDB 1.8 and later: /api/v2/write"),
                        ],
                        default="v2",
                        max_length=4,
                        verbose_name="interface",
                    ),
                ),
                (
                    "url",
                    models.URLField(
                        help_text="Such as http://influx.lab:8086", max_length=300, verbose_name="URL"
                    ),
                ),
                (
                    "org",
                    models.CharField(blank=True, default="", max_length=100, verbose_name="organisation"),
                ),
                ("bucket", models.CharField(max_length=100, verbose_name="bucket or database")),
                ("user", models.CharField(blank=True, default="", max_length=100, verbose_name="user")),
                (
                    "secret",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="The name of the password or token: NAME for the variable LABSITE_SECRET_NAME",
                        max_length=40,
                        verbose_name="secret",
                    ),
                ),
                (
                    "schema",
                    models.CharField(
                        choices=[
                            ("labsite", "Labsite"),
                            ("qs-monitor", "qs-monitor"),
                            ("filament-box", "filament box"),
                        ],
                        default="labsite",
                        max_length=20,
                        verbose_name="schema",
                    ),
                ),
                (
                    "measurement",
                    models.CharField(
                        blank=True,
                        default="",
                        help_text="Empty: that of the schema",
                        max_length=100,
                        verbose_name="measurement",
                    ),
                ),
                (
                    "tags",
                    models.JSONField(
                        blank=True, default=dict, help_text="Added to each point", verbose_name="tags"
                    ),
                ),
                (
                    "only",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text='Only instruments of these: {"driver": …, "edge": …, "tag": …}',
                        verbose_name="only",
                    ),
                ),
                (
                    "batch_size",
                    models.PositiveIntegerField(
                        default=5000,
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(50000),
                        ],
                        verbose_name="batch size",
                    ),
                ),
                (
                    "flush_interval",
                    models.FloatField(
                        default=1.0,
                        help_text="Seconds that points wait for a batch to fill",
                        validators=[
                            django.core.validators.MinValueValidator(0.1),
                            django.core.validators.MaxValueValidator(3600.0),
                        ],
                        verbose_name="flush interval",
                    ),
                ),
                ("gzip", models.BooleanField(default=True, verbose_name="gzip")),
                (
                    "alert_threshold",
                    models.PositiveSmallIntegerField(
                        default=5,
                        help_text="Failures in a row",
                        validators=[django.core.validators.MinValueValidator(1)],
                        verbose_name="alert after",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, verbose_name="created"
                    ),
                ),
                ("at_xid", models.DecimalField(decimal_places=0, default=0, editable=False, max_digits=20)),
                ("at_id", models.BigIntegerField(default=0, editable=False)),
                ("at_time", models.DateTimeField(editable=False, null=True, verbose_name="fed up to")),
                ("points", models.BigIntegerField(default=0, editable=False, verbose_name="points written")),
                (
                    "failures",
                    models.PositiveIntegerField(default=0, editable=False, verbose_name="failures in a row"),
                ),
                ("retry_at", models.DateTimeField(editable=False, null=True, verbose_name="next attempt")),
                (
                    "error",
                    models.TextField(blank=True, default="", editable=False, verbose_name="last error"),
                ),
                (
                    "must_rebuild",
                    models.BooleanField(default=False, editable=False, verbose_name="to be rebuilt"),
                ),
            ],
            options={
                "verbose_name": "sink",
                "verbose_name_plural": "sinks",
                "db_table": "sink",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="StoragePolicy",
            fields=[
                (
                    "channel",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="storage_policy",
                        serialize=False,
                        to="devices.channel",
                        verbose_name="channel",
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[("change", "on change"), ("dead_band", "dead-band")],
                        max_length=10,
                        verbose_name="mode",
                    ),
                ),
                (
                    "dead_band",
                    models.FloatField(
                        default=0.0,
                        help_text="In the channel's unit: what differs less from the last stored value is not stored",
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="dead-band",
                    ),
                ),
                (
                    "heartbeat",
                    models.FloatField(
                        default=300.0,
                        help_text="Seconds after which a reading is stored though nothing changed",
                        validators=[django.core.validators.MinValueValidator(1.0)],
                        verbose_name="heartbeat",
                    ),
                ),
            ],
            options={
                "verbose_name": "storage policy",
                "verbose_name_plural": "storage policies",
                "db_table": "storage_policy",
            },
        ),
        migrations.CreateModel(
            name="SetAside",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("line", models.TextField(verbose_name="line")),
                ("reason", models.TextField(verbose_name="reason")),
                ("at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="at")),
                (
                    "sink",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="set_aside",
                        to="telemetry.sink",
                        verbose_name="sink",
                    ),
                ),
            ],
            options={
                "verbose_name": "point set aside",
                "verbose_name_plural": "points set aside",
                "db_table": "set_aside",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Unstored",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id", "bucket", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("bucket", models.DateTimeField()),
                ("n", models.IntegerField()),
                (
                    "channel",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="devices.channel",
                    ),
                ),
            ],
            options={
                "db_table": "unstored",
            },
        ),
        migrations.CreateModel(
            name="Calibration",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("valid_from", models.DateTimeField(verbose_name="valid from")),
                (
                    "kind",
                    models.CharField(
                        choices=[("polynomial", "polynomial"), ("table", "table")],
                        max_length=12,
                        verbose_name="kind",
                    ),
                ),
                (
                    "numbers",
                    models.JSONField(
                        help_text="Of a polynomial its coefficients, constant first; of a table [raw, true] pairs",
                        verbose_name="numbers",
                    ),
                ),
                ("note", models.CharField(blank=True, default="", max_length=300, verbose_name="note")),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, verbose_name="created"
                    ),
                ),
                (
                    "by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="calibrations",
                        to="devices.channel",
                        verbose_name="raw channel",
                    ),
                ),
            ],
            options={
                "verbose_name": "calibration",
                "verbose_name_plural": "calibrations",
                "db_table": "calibration",
                "ordering": ["channel", "valid_from"],
                "constraints": [
                    models.UniqueConstraint(fields=("channel", "valid_from"), name="one_calibration_per_time")
                ],
            },
        ),
        migrations.CreateModel(
            name="ComputedChannel",
            fields=[
                (
                    "channel",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="computed",
                        serialize=False,
                        to="devices.channel",
                        verbose_name="channel",
                    ),
                ),
                (
                    "formula",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text="Over keys of channels of the same instrument",
                        verbose_name="formula",
                    ),
                ),
                (
                    "source",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="calibrated",
                        to="devices.channel",
                        verbose_name="calibrated from",
                    ),
                ),
            ],
            options={
                "verbose_name": "computed channel",
                "verbose_name_plural": "computed channels",
                "db_table": "computed_channel",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("formula", ""), ("source__isnull", False)),
                            models.Q(models.Q(("formula", ""), _negated=True), ("source", None)),
                            _connector="OR",
                        ),
                        name="computed_by_formula_or_calibration",
                    )
                ],
            },
        ),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
    ]
