"""The admin of alarms. Whatever is changed here goes through alerts.rules.editing and alerts.services."""

from alerts.admin.alarms import AlarmAdmin, HappeningAdmin, JournalAdmin
from alerts.admin.contacts import ContactAdmin, NoticeAdmin, RouteAdmin
from alerts.admin.matrix import MatrixCommandAdmin, MatrixPersonAdmin, MatrixRoomAdmin
from alerts.admin.rules import RuleAdmin

__all__ = [
    "AlarmAdmin",
    "ContactAdmin",
    "HappeningAdmin",
    "JournalAdmin",
    "MatrixCommandAdmin",
    "MatrixPersonAdmin",
    "MatrixRoomAdmin",
    "NoticeAdmin",
    "RouteAdmin",
    "RuleAdmin",
]
