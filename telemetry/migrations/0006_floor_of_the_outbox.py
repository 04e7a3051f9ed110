"""What the outbox no longer holds, and how far a sink's rebuilding has come."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0005_drop_marks")]

    operations = [
        migrations.CreateModel(
            name="OutboxFloor",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("xid", models.DecimalField(decimal_places=0, max_digits=20)),
                ("row", models.BigIntegerField()),
                ("moved_at", models.DateTimeField()),
            ],
            options={"db_table": "outbox_floor"},
        ),
        migrations.AddField(
            model_name="sink",
            name="rebuild",
            field=models.JSONField(default=dict, editable=False),
        ),
    ]
