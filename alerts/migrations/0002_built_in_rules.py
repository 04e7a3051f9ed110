"""The rules that every laboratory has: they may be edited and switched off."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

CRITICAL, HIGH, MEDIUM, LOW = 1, 2, 3, 4
RULES = (
    {
        "name": "Edge silent",
        "kind": "edge_silent",
        "priority": HIGH,
        "seconds": 30.0,
        "guidance": "Nothing is heard of the edge: look at its power and its network. It goes on polling by itself; "
        "what it reads comes later.",
    },
    {
        "name": "Instrument not connected",
        "kind": "not_connected",
        "priority": MEDIUM,
        "on_delay": 5.0,
        "guidance": "The edge cannot reach the instrument: look at its power, its cable and its address.",
    },
    {
        "name": "Channel stale or bad",
        "kind": "stale",
        "priority": LOW,
        "on_delay": 10.0,
        "guidance": "The instrument answers, but this value is missing or not valid: look at the sensor.",
    },
    {
        "name": "Notice not delivered",
        "kind": "undelivered",
        "priority": HIGH,
        "guidance": "People are not told: test the contact, and look at the attempts of its notices.",
    },
    {
        "name": "Edge's spool growing",
        "kind": "high",
        "driver": "edge_host",
        "key": "spool_age",
        "high": 300.0,
        "on_delay": 60.0,
        "priority": MEDIUM,
        "guidance": "Readings of five minutes ago wait at the edge: is ingest running, and keeps up?",
    },
    {
        "name": "Edge's clock off",
        "kind": "outside",
        "driver": "edge_host",
        "key": "clock_offset",
        "low": -2.0,
        "high": 2.0,
        "deadband": 1.0,
        "on_delay": 60.0,
        "priority": LOW,
        "guidance": "The clock of the edge's host differs from the centre's: look at its time synchronisation.",
    },
    {
        "name": "Edge's disk filling",
        "kind": "low",
        "driver": "edge_host",
        "key": "disk_free",
        "low": 5.0,
        "deadband": 1.0,
        "on_delay": 60.0,
        "priority": HIGH,
        "guidance": "When the disk is full, readings are kept in memory only: make room.",
    },
)


def add(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    rule = apps.get_model("alerts", "Rule")
    for fields in RULES:
        rule.objects.get_or_create(name=fields["name"], defaults={**fields, "built_in": True})


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_alarms")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
