"""Readings out, as files: streamed as PostgreSQL gives them, with all that it takes to make them again."""

from telemetry.export.question import CHANNELS_MOST, Layout, Question
from telemetry.export.running import ENCODERS, Busy, Running
from telemetry.export.stream import Stream

FORMS = tuple(ENCODERS)

__all__ = ["CHANNELS_MOST", "FORMS", "Busy", "Layout", "Question", "Running", "Stream"]
