"""Runs of instruments, and tokens that may push readings of some instruments only."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0003_latest_in_place"),
    ]

    operations = [
        migrations.AddField(
            model_name="accesstoken",
            name="instruments",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.UUIDField(),
                blank=True,
                default=list,
                help_text="Those it may push readings of; none: all",
                size=None,
                verbose_name="instruments",
            ),
        ),
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=200, verbose_name="key")),
                ("kind", models.CharField(max_length=60, verbose_name="kind")),
                ("title", models.CharField(blank=True, max_length=300, verbose_name="title")),
                ("state", models.CharField(max_length=20, verbose_name="state")),
                ("progress", models.FloatField(null=True, verbose_name="progress")),
                ("start", models.DateTimeField(null=True, verbose_name="from")),
                ("end", models.DateTimeField(null=True, verbose_name="to")),
                ("fields", models.JSONField(default=dict, verbose_name="fields")),
                ("told_at", models.DateTimeField(verbose_name="as of")),
                ("flags", models.SmallIntegerField(default=0)),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runs",
                        to="devices.instrument",
                        verbose_name="instrument",
                    ),
                ),
            ],
            options={
                "verbose_name": "run",
                "verbose_name_plural": "runs",
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("instrument", "key"), name="one_run_per_instrument_and_key"
                    )
                ],
            },
        ),
    ]
