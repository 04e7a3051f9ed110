"""The classes by which single readings of a channel are kept, by name."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0007_cadence"),
    ]

    operations = [
        migrations.AlterField(
            model_name="channel",
            name="retention",
            field=models.CharField(
                choices=[("standard", "standard"), ("demo", "demo"), ("long", "long")],
                default="standard",
                help_text="How long its single readings are kept; a change holds for those that come from now on",
                max_length=20,
                verbose_name="retention class",
            ),
        ),
    ]
