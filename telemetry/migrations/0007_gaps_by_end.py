"""Which gaps touch a span of time is asked by their ends: most have ended before it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0007_cadence"),
        ("telemetry", "0006_floor_of_the_outbox"),
    ]

    operations = [
        migrations.AddIndex(model_name="gap", index=models.Index(fields=["end"], name="gaps_by_end")),
    ]
