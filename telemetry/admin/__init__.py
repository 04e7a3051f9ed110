"""The admin of what was measured."""

from telemetry.admin.happenings import EventAdmin, GapAdmin
from telemetry.admin.replaced import ReplacedInterfaceAdmin

__all__ = ["EventAdmin", "GapAdmin", "ReplacedInterfaceAdmin"]
