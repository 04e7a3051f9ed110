"""Rules, alarms with their journal, contacts, routes and notices."""

import uuid

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

# Whoever has compiled the rules sees by this number that they have changed. It is a time and not a count, so
# that none comes again, whatever becomes of the row.
COUNT_UP = """
CREATE FUNCTION alerts_count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO alerts_revision AS r (id, number)
    VALUES (1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
    ON CONFLICT (id) DO UPDATE SET number = greatest(EXCLUDED.number, r.number + 1);
    RETURN NULL;
END $$;
CREATE TRIGGER alerts_count_rules AFTER INSERT OR UPDATE OR DELETE ON alerts_rule
    FOR EACH STATEMENT EXECUTE FUNCTION alerts_count_revision();
CREATE TRIGGER alerts_count_overrides AFTER INSERT OR UPDATE OR DELETE ON alerts_override
    FOR EACH STATEMENT EXECUTE FUNCTION alerts_count_revision();
CREATE TRIGGER alerts_count_routes AFTER INSERT OR UPDATE OR DELETE ON alerts_route
    FOR EACH STATEMENT EXECUTE FUNCTION alerts_count_revision();
"""
COUNT_NO_MORE = """
DROP TRIGGER alerts_count_routes ON alerts_route;
DROP TRIGGER alerts_count_overrides ON alerts_override;
DROP TRIGGER alerts_count_rules ON alerts_rule;
DROP FUNCTION alerts_count_revision();
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("devices", "0006_tags"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Revision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.BigIntegerField(default=0)),
            ],
            options={
                "db_table": "alerts_revision",
            },
        ),
        migrations.CreateModel(
            name="Route",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80, unique=True, verbose_name="name")),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("alarms", models.BooleanField(default=True, verbose_name="alarms")),
                (
                    "least_priority",
                    models.SmallIntegerField(
                        choices=[(1, "critical"), (2, "high"), (3, "medium"), (4, "low")],
                        default=4,
                        verbose_name="least priority",
                    ),
                ),
                (
                    "recoveries",
                    models.BooleanField(default=True, verbose_name="also when they return to normal"),
                ),
                (
                    "happenings",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=60),
                        blank=True,
                        default=list,
                        help_text="Told without being alarms, such as run.started, run.completed, run_action",
                        size=None,
                        verbose_name="kinds of events",
                    ),
                ),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=40),
                        blank=True,
                        default=list,
                        help_text="Only of instruments with one of these; empty: of all",
                        size=None,
                        verbose_name="tags",
                    ),
                ),
                (
                    "days",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(),
                        blank=True,
                        default=list,
                        help_text="0 Monday to 6 Sunday; empty: every day",
                        size=None,
                        verbose_name="days",
                    ),
                ),
                ("start", models.TimeField(blank=True, null=True, verbose_name="from")),
                ("end", models.TimeField(blank=True, null=True, verbose_name="to")),
                ("zone", models.CharField(default="UTC", max_length=60, verbose_name="time zone")),
                (
                    "window",
                    models.FloatField(
                        default=10.0,
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="grouped within, s",
                    ),
                ),
                (
                    "repeat",
                    models.FloatField(
                        blank=True,
                        help_text="Until it is acknowledged; empty: told once",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(10.0)],
                        verbose_name="repeated every, s",
                    ),
                ),
                (
                    "daily",
                    models.TimeField(
                        blank=True,
                        help_text="That all is well, or what stands",
                        null=True,
                        verbose_name="daily word at",
                    ),
                ),
                ("daily_told_at", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "verbose_name": "route",
                "verbose_name_plural": "routes",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Alarm",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("normal", "normal"),
                            ("unacknowledged", "unacknowledged"),
                            ("acknowledged", "acknowledged"),
                            ("returned_unacknowledged", "returned, unacknowledged"),
                            ("latched_unacknowledged", "latched, unacknowledged"),
                            ("latched_acknowledged", "latched, acknowledged"),
                            ("shelved", "shelved"),
                            ("suppressed", "suppressed by design"),
                            ("out_of_service", "out of service"),
                        ],
                        default="normal",
                        max_length=24,
                        verbose_name="state",
                    ),
                ),
                ("since", models.DateTimeField(verbose_name="since")),
                (
                    "priority",
                    models.SmallIntegerField(
                        choices=[(1, "critical"), (2, "high"), (3, "medium"), (4, "low")],
                        default=3,
                        verbose_name="priority",
                    ),
                ),
                ("text", models.CharField(max_length=400, verbose_name="alarm")),
                ("value", models.FloatField(null=True, verbose_name="value")),
                ("reason", models.CharField(blank=True, max_length=400, verbose_name="reason")),
                ("raised_at", models.DateTimeField(null=True, verbose_name="raised")),
                ("cleared_at", models.DateTimeField(null=True, verbose_name="returned")),
                ("acknowledged_at", models.DateTimeField(null=True, verbose_name="acknowledged")),
                ("aside_reason", models.CharField(blank=True, max_length=400, verbose_name="reason")),
                ("aside_until", models.DateTimeField(null=True, verbose_name="until")),
                ("active", models.BooleanField(default=False, verbose_name="active")),
                ("held", models.BooleanField(default=False)),
                ("unknown", models.BooleanField(default=False)),
                ("pending_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField(null=True)),
                ("judged_at", models.DateTimeField(null=True)),
                ("memory", models.JSONField(default=dict)),
                ("past", models.JSONField(default=dict)),
                ("chatter_at", models.DateTimeField(null=True)),
                ("version", models.PositiveIntegerField(default=0)),
                (
                    "acknowledged_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "aside_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "cause",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="consequences",
                        to="alerts.alarm",
                        verbose_name="cause",
                    ),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alarms",
                        to="devices.channel",
                        verbose_name="channel",
                    ),
                ),
                (
                    "edge",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alarms",
                        to="devices.edge",
                        verbose_name="edge",
                    ),
                ),
                (
                    "instrument",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="alarms",
                        to="devices.instrument",
                        verbose_name="instrument",
                    ),
                ),
            ],
            options={
                "verbose_name": "alarm",
                "verbose_name_plural": "alarms",
                "permissions": [
                    ("acknowledge_alarm", "Can acknowledge and comment on alarms, and reset them"),
                    ("shelve_alarm", "Can shelve and unshelve alarms"),
                    ("remove_alarm", "Can take alarms out of service and put them back"),
                ],
            },
        ),
        migrations.CreateModel(
            name="AlarmEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("raise", "raised"),
                            ("clear", "returned to normal"),
                            ("latch", "returned to normal, latched"),
                            ("acknowledge", "acknowledged"),
                            ("reset", "reset"),
                            ("shelve", "shelved"),
                            ("unshelve", "unshelved"),
                            ("suppress", "suppressed"),
                            ("unsuppress", "no longer suppressed"),
                            ("remove", "taken out of service"),
                            ("return", "put into service"),
                            ("comment", "comment"),
                        ],
                        max_length=12,
                        verbose_name="event",
                    ),
                ),
                (
                    "before",
                    models.CharField(
                        choices=[
                            ("normal", "normal"),
                            ("unacknowledged", "unacknowledged"),
                            ("acknowledged", "acknowledged"),
                            ("returned_unacknowledged", "returned, unacknowledged"),
                            ("latched_unacknowledged", "latched, unacknowledged"),
                            ("latched_acknowledged", "latched, acknowledged"),
                            ("shelved", "shelved"),
                            ("suppressed", "suppressed by design"),
                            ("out_of_service", "out of service"),
                        ],
                        max_length=24,
                        verbose_name="from",
                    ),
                ),
                (
                    "after",
                    models.CharField(
                        choices=[
                            ("normal", "normal"),
                            ("unacknowledged", "unacknowledged"),
                            ("acknowledged", "acknowledged"),
                            ("returned_unacknowledged", "returned, unacknowledged"),
                            ("latched_unacknowledged", "latched, unacknowledged"),
                            ("latched_acknowledged", "latched, acknowledged"),
                            ("shelved", "shelved"),
                            ("suppressed", "suppressed by design"),
                            ("out_of_service", "out of service"),
                        ],
                        max_length=24,
                        verbose_name="to",
                    ),
                ),
                ("at", models.DateTimeField(verbose_name="at")),
                ("stored_at", models.DateTimeField(verbose_name="noted")),
                ("past", models.BooleanField(default=False, verbose_name="learnt late")),
                (
                    "priority",
                    models.SmallIntegerField(
                        choices=[(1, "critical"), (2, "high"), (3, "medium"), (4, "low")],
                        verbose_name="priority",
                    ),
                ),
                ("value", models.FloatField(null=True, verbose_name="value")),
                (
                    "source",
                    models.CharField(
                        choices=[
                            ("ingest", "readings"),
                            ("timer", "clock"),
                            ("api", "API"),
                            ("page", "page"),
                            ("admin", "admin"),
                            ("matrix", "Matrix"),
                            ("command", "command line"),
                        ],
                        default="ingest",
                        max_length=10,
                        verbose_name="through",
                    ),
                ),
                ("comment", models.CharField(blank=True, max_length=1000, verbose_name="comment")),
                ("until", models.DateTimeField(null=True, verbose_name="until")),
                ("told_at", models.DateTimeField(null=True)),
                (
                    "alarm",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="journal",
                        to="alerts.alarm",
                        verbose_name="alarm",
                    ),
                ),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
            ],
            options={
                "verbose_name": "journal entry",
                "verbose_name_plural": "journal",
                "ordering": ["-stored_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="Contact",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80, unique=True, verbose_name="name")),
                ("transport", models.CharField(max_length=20, verbose_name="transport")),
                ("address", models.CharField(blank=True, max_length=400, verbose_name="address")),
                (
                    "secret",
                    models.CharField(
                        blank=True,
                        help_text="Its value is in LABSITE_SECRET_…",
                        max_length=40,
                        verbose_name="name of the secret",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("hold_until", models.DateTimeField(editable=False, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "next",
                    models.ForeignKey(
                        blank=True,
                        help_text="Who is told what cannot be delivered here",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="alerts.contact",
                        verbose_name="next contact",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="contacts",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "contact",
                "verbose_name_plural": "contacts",
                "ordering": ["name"],
            },
        ),
        migrations.AddField(
            model_name="alarm",
            name="contact",
            field=models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="alarms",
                to="alerts.contact",
                verbose_name="contact",
            ),
        ),
        migrations.CreateModel(
            name="Happening",
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
                ("stored_at", models.DateTimeField(verbose_name="noted")),
                ("told_at", models.DateTimeField(null=True)),
                (
                    "instrument",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="happenings",
                        to="devices.instrument",
                        verbose_name="instrument",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="devices.run",
                        verbose_name="run",
                    ),
                ),
            ],
            options={
                "verbose_name": "happening",
                "verbose_name_plural": "happenings",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Notice",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("alarm", "alarm"),
                            ("recovery", "return to normal"),
                            ("repeat", "reminder"),
                            ("escalation", "escalation"),
                            ("chatter", "chatter"),
                            ("calm", "end of chatter"),
                            ("happening", "event"),
                            ("daily", "daily word"),
                            ("test", "test"),
                        ],
                        max_length=12,
                        verbose_name="kind",
                    ),
                ),
                ("step", models.FloatField(default=0.0)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "waiting"),
                            ("sent", "sent"),
                            ("failed", "not delivered"),
                            ("dropped", "not sent: old news"),
                        ],
                        default="waiting",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                (
                    "priority",
                    models.SmallIntegerField(
                        choices=[(1, "critical"), (2, "high"), (3, "medium"), (4, "low")],
                        null=True,
                        verbose_name="priority",
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="made")),
                ("due_at", models.DateTimeField(verbose_name="due")),
                ("tries", models.PositiveSmallIntegerField(default=0, verbose_name="attempts")),
                ("sent_at", models.DateTimeField(null=True, verbose_name="sent")),
                ("title", models.CharField(blank=True, max_length=400, verbose_name="title")),
                ("text", models.TextField(blank=True, verbose_name="text")),
                ("reference", models.CharField(blank=True, max_length=300)),
                (
                    "contact",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="notices",
                        to="alerts.contact",
                        verbose_name="contact",
                    ),
                ),
                (
                    "follows",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="followers",
                        to="alerts.notice",
                        verbose_name="follows",
                    ),
                ),
                (
                    "route",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="notices",
                        to="alerts.route",
                        verbose_name="route",
                    ),
                ),
            ],
            options={
                "verbose_name": "notice",
                "verbose_name_plural": "notices",
                "ordering": ["-created_at"],
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField(verbose_name="at")),
                ("seconds", models.FloatField(verbose_name="seconds")),
                ("error", models.CharField(blank=True, max_length=500, verbose_name="error")),
                (
                    "notice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="attempts",
                        to="alerts.notice",
                    ),
                ),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "ordering": ["-at"],
            },
        ),
        migrations.CreateModel(
            name="NoticeLine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "alarm",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="alerts.alarm",
                    ),
                ),
                (
                    "event",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="alerts.alarmevent",
                    ),
                ),
                (
                    "happening",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="lines",
                        to="alerts.happening",
                    ),
                ),
                (
                    "notice",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="alerts.notice"
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="RouteStep",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "after",
                    models.FloatField(
                        default=0.0,
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="after, s",
                    ),
                ),
                (
                    "contact",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="alerts.contact",
                        verbose_name="contact",
                    ),
                ),
                (
                    "route",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="alerts.route",
                        verbose_name="route",
                    ),
                ),
            ],
            options={
                "verbose_name": "step",
                "verbose_name_plural": "steps",
                "ordering": ["route", "after", "id"],
            },
        ),
        migrations.CreateModel(
            name="Rule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=120, unique=True, verbose_name="name")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("high", "above a limit"),
                            ("low", "below a limit"),
                            ("outside", "outside a range"),
                            ("equals", "is a value"),
                            ("differs", "is not a value"),
                            ("rate", "changes too fast"),
                            ("stale", "stale or bad"),
                            ("event", "an event"),
                            ("no_progress", "a run makes no progress"),
                            ("not_connected", "instrument not connected"),
                            ("edge_silent", "edge silent"),
                            ("undelivered", "a notice cannot be delivered"),
                        ],
                        max_length=20,
                        verbose_name="kind",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "priority",
                    models.SmallIntegerField(
                        choices=[(1, "critical"), (2, "high"), (3, "medium"), (4, "low")],
                        default=3,
                        verbose_name="priority",
                    ),
                ),
                (
                    "guidance",
                    models.TextField(
                        blank=True, help_text="What to do when it is raised", verbose_name="guidance"
                    ),
                ),
                ("driver", models.CharField(blank=True, max_length=60, verbose_name="driver")),
                ("key", models.CharField(blank=True, max_length=100, verbose_name="channel key")),
                ("tag", models.CharField(blank=True, max_length=40, verbose_name="tag")),
                ("low", models.FloatField(blank=True, null=True, verbose_name="low limit")),
                (
                    "high",
                    models.FloatField(
                        blank=True,
                        help_text="Of a rate: in the channel's unit per minute",
                        null=True,
                        verbose_name="high limit",
                    ),
                ),
                (
                    "value",
                    models.CharField(
                        blank=True,
                        help_text="A number, a text, true or false",
                        max_length=200,
                        verbose_name="value",
                    ),
                ),
                (
                    "deadband",
                    models.FloatField(
                        default=0.0,
                        help_text="How far inside the limit it must come back before the alarm clears",
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="dead-band",
                    ),
                ),
                (
                    "seconds",
                    models.FloatField(
                        blank=True,
                        help_text="Stale: after so long (empty: by the interval). No progress: for so long. Rate: measured over it",
                        null=True,
                        validators=[django.core.validators.MinValueValidator(0.1)],
                        verbose_name="seconds",
                    ),
                ),
                ("event_kind", models.CharField(blank=True, max_length=60, verbose_name="event kind")),
                (
                    "event_text",
                    models.CharField(
                        blank=True,
                        help_text="Capitals do not matter",
                        max_length=200,
                        verbose_name="text within the event",
                    ),
                ),
                (
                    "on_delay",
                    models.FloatField(
                        default=0.0,
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="on-delay, s",
                    ),
                ),
                (
                    "off_delay",
                    models.FloatField(
                        default=0.0,
                        validators=[django.core.validators.MinValueValidator(0.0)],
                        verbose_name="off-delay, s",
                    ),
                ),
                (
                    "latch",
                    models.BooleanField(
                        default=False, help_text="It stands until it is reset", verbose_name="latch"
                    ),
                ),
                (
                    "suppressed_in",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(
                            choices=[
                                ("pending", "pending"),
                                ("running", "running"),
                                ("paused", "paused"),
                                ("completed", "completed"),
                                ("failed", "failed"),
                                ("aborted", "aborted"),
                                ("lost", "lost"),
                                ("unknown", "unknown"),
                            ],
                            max_length=20,
                        ),
                        blank=True,
                        default=list,
                        size=None,
                        verbose_name="suppressed while the instrument has a run that is",
                    ),
                ),
                (
                    "chatter_changes",
                    models.PositiveSmallIntegerField(default=6, verbose_name="chatter: raised more than"),
                ),
                (
                    "chatter_seconds",
                    models.FloatField(
                        default=600.0,
                        validators=[django.core.validators.MinValueValidator(1.0)],
                        verbose_name="times in, s",
                    ),
                ),
                (
                    "built_in",
                    models.BooleanField(default=False, editable=False, verbose_name="comes with Labsite"),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "channel",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rules",
                        to="devices.channel",
                        verbose_name="channel",
                    ),
                ),
                (
                    "edge",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rules",
                        to="devices.edge",
                        verbose_name="edge",
                    ),
                ),
                (
                    "instrument",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rules",
                        to="devices.instrument",
                        verbose_name="instrument",
                    ),
                ),
                (
                    "suppressed_by",
                    models.ForeignKey(
                        blank=True,
                        help_text="An alarm of that rule at the same instrument, or at its edge",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="suppresses",
                        to="alerts.rule",
                        verbose_name="suppressed while this one stands",
                    ),
                ),
            ],
            options={
                "verbose_name": "rule",
                "verbose_name_plural": "rules",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Override",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("low", models.FloatField(blank=True, null=True, verbose_name="low limit")),
                ("high", models.FloatField(blank=True, null=True, verbose_name="high limit")),
                ("value", models.CharField(blank=True, max_length=200, verbose_name="value")),
                ("deadband", models.FloatField(blank=True, null=True, verbose_name="dead-band")),
                ("seconds", models.FloatField(blank=True, null=True, verbose_name="seconds")),
                ("on_delay", models.FloatField(blank=True, null=True, verbose_name="on-delay, s")),
                ("off_delay", models.FloatField(blank=True, null=True, verbose_name="off-delay, s")),
                (
                    "priority",
                    models.SmallIntegerField(
                        blank=True,
                        choices=[(1, "critical"), (2, "high"), (3, "medium"), (4, "low")],
                        null=True,
                        verbose_name="priority",
                    ),
                ),
                (
                    "channel",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="overrides",
                        to="devices.channel",
                        verbose_name="channel",
                    ),
                ),
                (
                    "rule",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="overrides",
                        to="alerts.rule",
                        verbose_name="rule",
                    ),
                ),
            ],
            options={
                "verbose_name": "override",
                "verbose_name_plural": "overrides",
            },
        ),
        migrations.AddField(
            model_name="alarm",
            name="rule",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="alarms",
                to="alerts.rule",
                verbose_name="rule",
            ),
        ),
        migrations.AddIndex(
            model_name="alarmevent",
            index=models.Index(fields=["alarm", "at"], name="journal_of_alarm"),
        ),
        migrations.AddIndex(
            model_name="alarmevent",
            index=models.Index(fields=["stored_at", "id"], name="journal_by_time"),
        ),
        migrations.AddIndex(
            model_name="alarmevent",
            index=models.Index(condition=models.Q(("told_at", None)), fields=["id"], name="journal_outbox"),
        ),
        migrations.AddConstraint(
            model_name="alarmevent",
            constraint=models.UniqueConstraint(
                condition=models.Q(("past", True)),
                fields=("alarm", "event", "at"),
                name="one_past_change_per_time",
            ),
        ),
        migrations.AddIndex(
            model_name="happening",
            index=models.Index(
                condition=models.Q(("told_at", None)), fields=["id"], name="happenings_outbox"
            ),
        ),
        migrations.AddConstraint(
            model_name="noticeline",
            constraint=models.UniqueConstraint(
                fields=("notice", "event", "happening"), name="one_line_per_change", nulls_distinct=False
            ),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(
                condition=models.Q(("state", "waiting")), fields=["due_at"], name="notices_waiting"
            ),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(fields=["contact", "created_at"], name="notices_of_contact"),
        ),
        migrations.AddIndex(
            model_name="notice",
            index=models.Index(fields=["created_at"], name="notices_by_time"),
        ),
        migrations.AddConstraint(
            model_name="routestep",
            constraint=models.UniqueConstraint(
                fields=("route", "after", "contact"), name="one_step_per_contact_and_time"
            ),
        ),
        migrations.AddConstraint(
            model_name="rule",
            constraint=models.CheckConstraint(
                condition=models.Q(("deadband__gte", 0), ("on_delay__gte", 0), ("off_delay__gte", 0)),
                name="no_negative_bands_and_delays",
            ),
        ),
        migrations.AddConstraint(
            model_name="override",
            constraint=models.UniqueConstraint(
                fields=("rule", "channel"), name="one_override_per_rule_and_channel"
            ),
        ),
        migrations.AddIndex(
            model_name="alarm",
            index=models.Index(
                condition=models.Q(
                    models.Q(("state", "normal"), _negated=True),
                    ("active", True),
                    ("held", True),
                    models.Q(("past", {}), _negated=True),
                    _connector="OR",
                ),
                fields=["edge"],
                name="alarms_at_work",
            ),
        ),
        migrations.AddIndex(
            model_name="alarm",
            index=models.Index(
                condition=models.Q(
                    (
                        "state__in",
                        (
                            "unacknowledged",
                            "acknowledged",
                            "returned_unacknowledged",
                            "latched_unacknowledged",
                            "latched_acknowledged",
                        ),
                    )
                ),
                fields=["priority", "raised_at"],
                name="standing",
            ),
        ),
        migrations.AddIndex(
            model_name="alarm",
            index=models.Index(
                condition=models.Q(("due_at__isnull", False)), fields=["due_at"], name="alarms_due"
            ),
        ),
        migrations.AddIndex(
            model_name="alarm",
            index=models.Index(
                condition=models.Q(("chatter_at__isnull", False)), fields=["id"], name="alarms_chattering"
            ),
        ),
        migrations.AddConstraint(
            model_name="alarm",
            constraint=models.UniqueConstraint(
                fields=("rule", "edge", "instrument", "channel", "contact"),
                name="one_alarm_per_rule_and_thing",
                nulls_distinct=False,
            ),
        ),
        migrations.CreateModel(
            name="Reach",
            fields=[
                (
                    "edge",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="reach",
                        serialize=False,
                        to="devices.edge",
                    ),
                ),
                ("complete_at", models.DateTimeField()),
                ("stored_at", models.DateTimeField()),
            ],
        ),
        migrations.RunSQL(COUNT_UP, COUNT_NO_MORE),
    ]
