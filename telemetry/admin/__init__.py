"""The admin of what was measured."""

from telemetry.admin.happenings import EventAdmin, GapAdmin
from telemetry.admin.replaced import ReplacedInterfaceAdmin
from telemetry.admin.sinks import SetAsideAdmin, SinkAdmin

__all__ = ["EventAdmin", "GapAdmin", "ReplacedInterfaceAdmin", "SetAsideAdmin", "SinkAdmin"]
