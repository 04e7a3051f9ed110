"""How each instrument was to be polled from when on, so that what was due can be counted later."""

import django.db.models.deletion
from django.db import migrations, models

# By a trigger of its own, after the one that counts revisions has let the row through: only what changes what
# is due is noted. Two changes in one transaction have one time: the last one stands.
NOTE = """
CREATE FUNCTION devices_note_cadence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO devices_cadence (instrument_id, edge_id, since, interval, in_service, polled)
    SELECT NEW.id, NEW.edge_id, now(), NEW.interval, NEW.in_service AND NEW.retired_at IS NULL,
        NEW.driver <> 'push' AND e.name <> '(pushed)'
    FROM devices_edge e WHERE e.id = NEW.edge_id
    ON CONFLICT (instrument_id, since) DO UPDATE
    SET edge_id = EXCLUDED.edge_id, interval = EXCLUDED.interval, in_service = EXCLUDED.in_service,
        polled = EXCLUDED.polled;
    RETURN NULL;
END $$;

CREATE TRIGGER devices_note_cadence_of_new AFTER INSERT ON devices_instrument
    FOR EACH ROW EXECUTE FUNCTION devices_note_cadence();
CREATE TRIGGER devices_note_cadence_changed
    AFTER UPDATE OF interval, in_service, retired_at, edge_id, driver ON devices_instrument
    FOR EACH ROW WHEN (
        (OLD.interval, OLD.in_service, OLD.retired_at IS NULL, OLD.edge_id, OLD.driver)
        IS DISTINCT FROM (NEW.interval, NEW.in_service, NEW.retired_at IS NULL, NEW.edge_id, NEW.driver)
    ) EXECUTE FUNCTION devices_note_cadence();
"""
NOTE_NO_MORE = """
DROP TRIGGER devices_note_cadence_changed ON devices_instrument;
DROP TRIGGER devices_note_cadence_of_new ON devices_instrument;
DROP FUNCTION devices_note_cadence();
"""

# What was before is not known: as it is now, from the instrument's creation on; and if it is out of service,
# since it has been as it is.
BACKFILL = """
INSERT INTO devices_cadence (instrument_id, edge_id, since, interval, in_service, polled)
SELECT i.id, i.edge_id, i.created_at, i.interval,
    (i.in_service AND i.retired_at IS NULL) OR i.ordered_at > i.created_at,
    i.driver <> 'push' AND e.name <> '(pushed)'
FROM devices_instrument i JOIN devices_edge e ON e.id = i.edge_id
ON CONFLICT DO NOTHING;

INSERT INTO devices_cadence (instrument_id, edge_id, since, interval, in_service, polled)
SELECT i.id, i.edge_id, coalesce(i.retired_at, i.ordered_at), i.interval, false,
    i.driver <> 'push' AND e.name <> '(pushed)'
FROM devices_instrument i JOIN devices_edge e ON e.id = i.edge_id
WHERE NOT (i.in_service AND i.retired_at IS NULL) AND i.ordered_at > i.created_at
ON CONFLICT DO NOTHING;
"""


class Migration(migrations.Migration):
    dependencies = [("devices", "0006_tags")]

    operations = [
        migrations.CreateModel(
            name="Cadence",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("since", models.DateTimeField()),
                ("interval", models.FloatField()),
                ("in_service", models.BooleanField()),
                ("polled", models.BooleanField()),
                (
                    "edge",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="devices.edge",
                    ),
                ),
                (
                    "instrument",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="cadences",
                        to="devices.instrument",
                    ),
                ),
            ],
            options={
                "ordering": ["instrument", "since"],
                "constraints": [
                    models.UniqueConstraint(fields=("instrument", "since"), name="one_cadence_per_time")
                ],
            },
        ),
        migrations.RunSQL(NOTE, NOTE_NO_MORE),
        migrations.RunSQL(BACKFILL, migrations.RunSQL.noop),
    ]
