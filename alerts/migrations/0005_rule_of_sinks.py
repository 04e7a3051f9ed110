"""The rule that every laboratory has of its sinks: it may be edited and switched off."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

MEDIUM = 3
RULES = (
    {
        "name": "Sink not fed",
        "kind": "sink_not_fed",
        "priority": MEDIUM,
        "guidance": "The copy is not written: look at its server, and at the sink's last error. Nothing is lost: it "
        "catches up by itself, or the command rebuild_sink fills it.",
    },
)


def add(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    rule = apps.get_model("alerts", "Rule")
    for fields in RULES:
        rule.objects.get_or_create(name=fields["name"], defaults={**fields, "built_in": True})


class Migration(migrations.Migration):
    dependencies = [("alerts", "0004_alarms_of_sinks")]

    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
