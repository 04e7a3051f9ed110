"""What of raw readings is gone: how far partitions were dropped, and of which classes channels were before."""

import django.db.models.deletion
from django.db import migrations, models

# A channel whose class has changed has its older readings in another family of tables.
CLASS = """
CREATE FUNCTION labsite_former_class() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO former_class (channel_id, retention, until) VALUES (OLD.id, OLD.retention, now())
    ON CONFLICT (channel_id, retention) DO UPDATE SET until = EXCLUDED.until;
    RETURN NULL;
END $$;
CREATE TRIGGER former_class AFTER UPDATE OF retention ON devices_channel
    FOR EACH ROW WHEN (OLD.retention IS DISTINCT FROM NEW.retention)
    EXECUTE FUNCTION labsite_former_class();
"""
NO_CLASS = "DROP TRIGGER former_class ON devices_channel; DROP FUNCTION labsite_former_class()"


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0006_tags"),
        ("telemetry", "0004_replaced_interfaces"),
    ]

    operations = [
        migrations.CreateModel(
            name="DropMark",
            fields=[
                ("table_name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("through", models.DateTimeField()),
            ],
            options={
                "db_table": "drop_mark",
            },
        ),
        migrations.CreateModel(
            name="FormerClass",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "channel_id",
                        "retention",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("retention", models.CharField(max_length=20)),
                ("until", models.DateTimeField()),
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
                "db_table": "former_class",
            },
        ),
        migrations.AddIndex(
            model_name="dirtybucket",
            index=models.Index(fields=["channel_id", "bucket"], name="dirty_of_channel"),
        ),
        migrations.RunSQL(CLASS, NO_CLASS),
    ]
