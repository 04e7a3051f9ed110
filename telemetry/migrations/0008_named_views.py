"""Views with names instead of numbers, for other programs that read the database, such as Grafana."""

from django.db import migrations

CHANNEL = """
    i.name AS instrument, i.driver, e.name AS edge, c.key AS channel, c.label, c.unit, c.kind, c.id AS channel_id
"""
JOINED = """
    JOIN devices_channel c ON c.id = of.channel_id
    JOIN devices_instrument i ON i.id = c.instrument_id
    JOIN devices_edge e ON e.id = i.edge_id
"""
ROLLED_UP = """
CREATE VIEW named_{width} AS
    SELECT of.bucket AS time, {channel}, of.n, of.bad, of.min, of.max, of.sum / nullif(of.n, 0) AS mean,
        of.last, of.text
    FROM rollup_{width} AS of {joined};
"""
VIEWS = f"""
CREATE VIEW named_channel AS
    SELECT {CHANNEL} FROM devices_channel c
    JOIN devices_instrument i ON i.id = c.instrument_id
    JOIN devices_edge e ON e.id = i.edge_id
    WHERE i.retired_at IS NULL;
CREATE VIEW named_reading AS
    SELECT of.time, {CHANNEL}, of.value, of.text, (ARRAY['good', 'uncertain', 'bad'])[(of.quality & 3) + 1] AS quality
    FROM samples AS of {JOINED};
{ROLLED_UP.format(width="minute", channel=CHANNEL, joined=JOINED)}
{ROLLED_UP.format(width="hour", channel=CHANNEL, joined=JOINED)}
CREATE VIEW named_event AS
    SELECT of.time, i.name AS instrument, i.driver, e.name AS edge, of.kind, of.text, of.fields
    FROM event AS of
    JOIN devices_instrument i ON i.id = of.instrument_id
    JOIN devices_edge e ON e.id = i.edge_id;
CREATE VIEW named_run AS
    SELECT of.start, of."end", of.told_at, i.name AS instrument, i.driver, e.name AS edge, of.key, of.kind, of.title,
        of.state, of.progress, of.fields
    FROM devices_run AS of
    JOIN devices_instrument i ON i.id = of.instrument_id
    JOIN devices_edge e ON e.id = i.edge_id;
"""  # noqa: S608 - of constants
NO_VIEWS = "DROP VIEW named_run, named_event, named_hour, named_minute, named_reading, named_channel"


class Migration(migrations.Migration):
    dependencies = [
        ("devices", "0007_cadence"),
        ("telemetry", "0007_gaps_by_end"),
    ]

    operations = [migrations.RunSQL(VIEWS, NO_VIEWS)]
