"""How what is stored becomes points: one module for each schema, with `form(told, sink, directory)` and
`is_for(of, sink)`."""

from collections.abc import Callable

from telemetry.models import Sink
from telemetry.sinks.directory import About, Directory
from telemetry.sinks.schemas import filament_box, labsite, qs_monitor
from telemetry.sinks.schemas.base import Points
from telemetry.sinks.told import Told

FORMS: dict[str, Callable[[Told, Sink, Directory], Points]] = {
    Sink.Schema.LABSITE: labsite.form,
    Sink.Schema.QS_MONITOR: qs_monitor.form,
    Sink.Schema.FILAMENT_BOX: filament_box.form,
}
CHOICES: dict[str, Callable[[About, Sink], bool]] = {
    Sink.Schema.LABSITE: labsite.is_for,
    Sink.Schema.QS_MONITOR: qs_monitor.is_for,
    Sink.Schema.FILAMENT_BOX: filament_box.is_for,
}


def is_for(of: About, sink: Sink) -> bool:
    """Whether a sink takes anything of an instrument."""
    return CHOICES[sink.schema](of, sink)


def form(told: Told, sink: Sink, directory: Directory) -> Points:
    """The points of what a sink is told, by its schema."""
    return FORMS[sink.schema](told, sink, directory)
