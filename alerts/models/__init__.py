"""What should not be so (rules), where that stands (alarms and their journal), and who is told (notices)."""

from alerts.models.alarms import Alarm, AlarmEvent, Happening, Reach, Source
from alerts.models.matrix import (
    CommandOutcome,
    MatrixCommand,
    MatrixMessage,
    MatrixPerson,
    MatrixRoom,
    MatrixStranger,
)
from alerts.models.notices import (
    Attempt,
    Contact,
    Notice,
    NoticeKind,
    NoticeLine,
    NoticeState,
    Route,
    RouteStep,
)
from alerts.models.rules import Override, Priority, Revision, Rule, RuleKind

__all__ = [
    "Alarm",
    "AlarmEvent",
    "Attempt",
    "CommandOutcome",
    "Contact",
    "Happening",
    "MatrixCommand",
    "MatrixMessage",
    "MatrixPerson",
    "MatrixRoom",
    "MatrixStranger",
    "Notice",
    "NoticeKind",
    "NoticeLine",
    "NoticeState",
    "Override",
    "Priority",
    "Reach",
    "Revision",
    "Route",
    "RouteStep",
    "Rule",
    "RuleKind",
    "Source",
]
