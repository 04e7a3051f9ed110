"""What the Matrix bot knows: people, rooms, what it sent where, which commands it has seen."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("alerts", "0002_built_in_rules"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="MatrixRoom",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "address",
                    models.CharField(
                        help_text="!id:server or #alias:server; @name:server is a room of two with that person",
                        max_length=255,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[!#@][^:\\s]+(:\\S+)?$",
                                "A room (!id:server or #alias:server), or a person (@name:server).",
                            )
                        ],
                        verbose_name="room",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "allow_commands",
                    models.BooleanField(
                        default=True,
                        help_text="People may ask and acknowledge here, each by their rights",
                        verbose_name="commands",
                    ),
                ),
                (
                    "allow_control",
                    models.BooleanField(
                        default=False,
                        help_text="Commands here may control instruments; needs commands, too",
                        verbose_name="control",
                    ),
                ),
                ("room_id", models.CharField(blank=True, editable=False, max_length=255)),
                (
                    "problem",
                    models.CharField(blank=True, editable=False, max_length=300, verbose_name="problem"),
                ),
                ("joined_at", models.DateTimeField(editable=False, null=True, verbose_name="joined")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "verbose_name": "Matrix room",
                "verbose_name_plural": "Matrix rooms",
                "ordering": ["address"],
            },
        ),
        migrations.CreateModel(
            name="MatrixStranger",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("matrix_id", models.CharField(max_length=255, unique=True, verbose_name="Matrix id")),
                ("told_at", models.DateTimeField(verbose_name="told")),
            ],
            options={
                "verbose_name": "Matrix stranger",
                "verbose_name_plural": "Matrix strangers",
                "ordering": ["-told_at"],
            },
        ),
        migrations.CreateModel(
            name="MatrixPerson",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "matrix_id",
                    models.CharField(
                        max_length=255,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^@[^:\\s]+:\\S+$", "A Matrix id, such as @anna:example.org."
                            )
                        ],
                        verbose_name="Matrix id",
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="matrix_ids",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "Matrix person",
                "verbose_name_plural": "Matrix people",
                "ordering": ["matrix_id"],
            },
        ),
        migrations.CreateModel(
            name="MatrixCommand",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("event_id", models.CharField(max_length=255, unique=True)),
                ("room_id", models.CharField(max_length=255)),
                ("sender", models.CharField(max_length=255, verbose_name="sender")),
                ("text", models.CharField(max_length=1000, verbose_name="command")),
                ("thread", models.CharField(blank=True, max_length=255)),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("done", "done"),
                            ("refused", "refused"),
                            ("too_old", "too old, not run"),
                            ("limited", "too many, not run"),
                            ("failed", "went wrong"),
                        ],
                        max_length=10,
                        verbose_name="outcome",
                    ),
                ),
                ("answer", models.TextField(blank=True, verbose_name="answer")),
                ("html", models.TextField(blank=True)),
                ("seen_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="seen")),
                ("answered_at", models.DateTimeField(null=True, verbose_name="answered")),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "Matrix command",
                "verbose_name_plural": "Matrix commands",
                "ordering": ["-id"],
                "indexes": [
                    models.Index(fields=["sender", "seen_at"], name="matrix_commands_of_sender"),
                    models.Index(
                        condition=models.Q(("answered_at", None)), fields=["id"], name="matrix_answers_owed"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="MatrixMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("room_id", models.CharField(max_length=255)),
                ("event_id", models.CharField(max_length=255, unique=True)),
                ("shown", models.TextField()),
                ("versions", models.BigIntegerField(default=-1)),
                ("open", models.BooleanField(default=True)),
                ("sent_at", models.DateTimeField()),
                (
                    "notice",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="matrix_message",
                        to="alerts.notice",
                    ),
                ),
                (
                    "root",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="thread",
                        to="alerts.matrixmessage",
                    ),
                ),
            ],
            options={
                "verbose_name": "Matrix message",
                "verbose_name_plural": "Matrix messages",
                "indexes": [
                    models.Index(
                        condition=models.Q(("open", True)), fields=["id"], name="matrix_open_messages"
                    )
                ],
            },
        ),
    ]
