"""The URL of a sink may name a host of one word."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("telemetry", "0008_named_views")]

    operations = [
        migrations.AlterField(
            model_name="sink",
            name="url",
            field=models.CharField(
                help_text="Such as http://influx.lab:8086", max_length=300, verbose_name="URL"
            ),
        ),
    ]
