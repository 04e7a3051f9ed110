"""The admin of what was measured."""

from telemetry.admin.happenings import EventAdmin, GapAdmin

__all__ = ["EventAdmin", "GapAdmin"]
