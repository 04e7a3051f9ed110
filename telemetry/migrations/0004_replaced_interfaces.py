"""Which instruments answer as a replaced program did."""

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("telemetry", "0003_history"),
    ]

    operations = [
        migrations.CreateModel(
            name="ReplacedInterface",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("thermostat", "thermostat logger"),
                            ("ups", "UPS monitor"),
                            ("metatron", "Metatron Telemetry"),
                        ],
                        max_length=12,
                        verbose_name="program",
                    ),
                ),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                (
                    "open",
                    models.BooleanField(
                        default=False,
                        help_text="It answers without a login, as the program did; without the mark a login or token is needed",
                        verbose_name="open",
                    ),
                ),
                (
                    "options",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="Of the program: see docs/replaced.md",
                        verbose_name="options",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, verbose_name="created"
                    ),
                ),
                (
                    "instrument",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="replaced",
                        to="devices.instrument",
                        verbose_name="instrument",
                    ),
                ),
            ],
            options={
                "verbose_name": "interface of a replaced program",
                "verbose_name_plural": "interfaces of replaced programs",
                "db_table": "replaced_interface",
                "ordering": ["instrument__name", "kind"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("instrument", "kind"), name="one_interface_per_instrument_and_kind"
                    )
                ],
            },
        ),
    ]
