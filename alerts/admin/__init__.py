"""The admin of alarms. Whatever is changed here goes through alerts.editing and alerts.services."""

from alerts.admin.alarms import AlarmAdmin, HappeningAdmin, JournalAdmin
from alerts.admin.contacts import ContactAdmin, NoticeAdmin, RouteAdmin
from alerts.admin.rules import RuleAdmin

__all__ = [
    "AlarmAdmin",
    "ContactAdmin",
    "HappeningAdmin",
    "JournalAdmin",
    "NoticeAdmin",
    "RouteAdmin",
    "RuleAdmin",
]
