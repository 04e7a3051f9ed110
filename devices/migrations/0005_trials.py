"""Tests of connections: asked for, answered, forgotten after an hour."""

import uuid

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0004_runs"),
    ]

    operations = [
        migrations.CreateModel(
            name="Trial",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("instrument", models.UUIDField()),
                ("asked_at", models.DateTimeField(db_index=True)),
                ("tried", models.JSONField(null=True)),
                (
                    "edge",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="devices.edge",
                    ),
                ),
            ],
        ),
    ]
