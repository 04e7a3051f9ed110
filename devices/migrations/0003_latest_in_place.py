"""Room in each page of the latest readings for their next version: updates stay in place (HOT)."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("devices", "0002_revisions")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE devices_latest SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)",
            "ALTER TABLE devices_latest RESET (fillfactor, autovacuum_vacuum_scale_factor)",
        )
    ]
