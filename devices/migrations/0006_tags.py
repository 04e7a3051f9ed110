"""Tags, by which rules and routes choose instruments; and since when an instrument is as it is."""

import django.contrib.postgres.fields
import django.core.validators
import django.utils.timezone
from django.db import migrations, models

# A change of tags counts up the edge's revision, as all do by which the centre knows what an instrument is.
COUNT_UP = """
CREATE OR REPLACE FUNCTION devices_count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND
       (OLD.name, OLD.driver, OLD.address, OLD.options, OLD.interval, OLD.in_service, OLD.edge_id, OLD.retired_at
        %s)
       IS NOT DISTINCT FROM
       (NEW.name, NEW.driver, NEW.address, NEW.options, NEW.interval, NEW.in_service, NEW.edge_id, NEW.retired_at
        %s)
    THEN
        NEW.revision := OLD.revision;  -- whoever saves the whole row may have read it before the last change
        %s
        RETURN NEW;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.edge_id <> NEW.edge_id THEN
        PERFORM 1 FROM devices_edge WHERE id IN (OLD.edge_id, NEW.edge_id) ORDER BY id FOR NO KEY UPDATE;
    END IF;
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND OLD.edge_id <> NEW.edge_id) THEN
        UPDATE devices_edge SET revision = revision + 1 WHERE id = OLD.edge_id;
        PERFORM pg_notify('labsite_orders', OLD.edge_id::text);
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    UPDATE devices_edge SET revision = revision + 1 WHERE id = NEW.edge_id RETURNING revision INTO NEW.revision;
    %s
    PERFORM pg_notify('labsite_orders', NEW.edge_id::text);
    RETURN NEW;
END $$;
"""
WITH_TAGS = (", OLD.tags", ", NEW.tags", "NEW.ordered_at := OLD.ordered_at;", "NEW.ordered_at := now();")


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0005_trials"),
    ]

    operations = [
        migrations.AddField(
            model_name="instrument",
            name="tags",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    max_length=40,
                    validators=[
                        django.core.validators.RegexValidator(
                            "^[\\w.-]{1,40}$",
                            "A tag: letters, digits, -, . and _, at most 40.",
                        )
                    ],
                ),
                blank=True,
                default=list,
                help_text="Words by which rules and routes choose instruments, such as a room or a project",
                size=None,
                verbose_name="tags",
            ),
        ),
        migrations.AddField(
            model_name="instrument",
            name="ordered_at",
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False),
        ),
        migrations.RunSQL(COUNT_UP % WITH_TAGS, COUNT_UP % ("", "", "", "")),
    ]
