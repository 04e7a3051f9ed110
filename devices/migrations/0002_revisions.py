"""Revisions, counted in the database, so that no way of changing an instrument goes past them."""

from django.db import migrations, models

# An edge's revision is counted up by each change of one of its instruments; the instrument gets the number.
# Rows of devices_edge are locked in the order of their ids, or two moves in opposite directions deadlock.
COUNT_UP = """
CREATE FUNCTION devices_count_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND
       (OLD.name, OLD.driver, OLD.address, OLD.options, OLD.interval, OLD.in_service, OLD.edge_id, OLD.retired_at)
       IS NOT DISTINCT FROM
       (NEW.name, NEW.driver, NEW.address, NEW.options, NEW.interval, NEW.in_service, NEW.edge_id, NEW.retired_at)
    THEN
        NEW.revision := OLD.revision;  -- whoever saves the whole row may have read it before the last change
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
    PERFORM pg_notify('labsite_orders', NEW.edge_id::text);
    RETURN NEW;
END $$;

CREATE TRIGGER devices_count_revision BEFORE INSERT OR UPDATE OR DELETE ON devices_instrument
    FOR EACH ROW EXECUTE FUNCTION devices_count_revision();
"""

# An instrument's first edge may bring readings of any time (those an instrument kept before it was enrolled).
# At a move the two periods overlap by 10 s: the old edge hears of it within 2 s, and its clock may be off.
ASSIGN = """
CREATE FUNCTION devices_assign() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO devices_assignment (instrument_id, edge_id, since) VALUES (NEW.id, NEW.edge_id, 'epoch');
    ELSE
        UPDATE devices_assignment SET until = now() + interval '10 s'
            WHERE instrument_id = NEW.id AND until IS NULL;
        INSERT INTO devices_assignment (instrument_id, edge_id, since) VALUES (NEW.id, NEW.edge_id, now());
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER devices_assign_new AFTER INSERT ON devices_instrument
    FOR EACH ROW EXECUTE FUNCTION devices_assign();
CREATE TRIGGER devices_assign_moved AFTER UPDATE OF edge_id ON devices_instrument
    FOR EACH ROW WHEN (OLD.edge_id IS DISTINCT FROM NEW.edge_id) EXECUTE FUNCTION devices_assign();
"""

UNASSIGN = """
DROP TRIGGER devices_assign_moved ON devices_instrument;
DROP TRIGGER devices_assign_new ON devices_instrument;
DROP FUNCTION devices_assign();
"""

COUNT_NO_MORE = """
DROP TRIGGER devices_count_revision ON devices_instrument;
DROP FUNCTION devices_count_revision();
"""


class Migration(migrations.Migration):
    dependencies = [("devices", "0001_instruments")]

    operations = [
        migrations.AddField(
            model_name="edge",
            name="key_heard",
            field=models.PositiveSmallIntegerField(default=1, editable=False),
        ),
        migrations.AddIndex(
            model_name="instrument",
            index=models.Index(
                condition=models.Q(("in_service", True), ("retired_at", None)),
                fields=["edge", "id"],
                name="standing_orders",
            ),
        ),
        migrations.RunSQL(COUNT_UP, COUNT_NO_MORE),
        migrations.RunSQL(ASSIGN, UNASSIGN),
    ]
