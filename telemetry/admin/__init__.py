"""The admin of what was measured."""

from telemetry.admin.computed import ChannelAdmin, ComputedChannelAdmin
from telemetry.admin.happenings import EventAdmin, GapAdmin
from telemetry.admin.replaced import ReplacedInterfaceAdmin
from telemetry.admin.sinks import SetAsideAdmin, SinkAdmin

__all__ = [
    "ChannelAdmin",
    "ComputedChannelAdmin",
    "EventAdmin",
    "GapAdmin",
    "ReplacedInterfaceAdmin",
    "SetAsideAdmin",
    "SinkAdmin",
]
