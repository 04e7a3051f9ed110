"""How every process writes its log, at the centre and at edges: one form, times in UTC, no passwords."""

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMS = ("text", "json")
PASSWORD_IN_URL = re.compile(r"([a-z][a-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@", re.IGNORECASE)
TWO_LINES_A_MESSAGE = ("celery.worker.strategy", "celery.app.trace")


class TextForm(logging.Formatter):
    """`2026-11-21T02:00:00.123Z WARNING devices.schedule: …`; what follows on further lines is indented."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{time_of(record)} {record.levelname} {record.name}: {record.getMessage()}"
        return "\n    ".join(masked(text + trace_of(record)).splitlines())


class JsonForm(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and trace if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "message": masked(record.getMessage()),
        }
        if trace := trace_of(record):
            fields["trace"] = masked(trace.strip())
        return json.dumps(fields, ensure_ascii=False)


def time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def trace_of(record: logging.LogRecord) -> str:
    """The stack trace, if the record has one, after a line's end."""
    if record.exc_info and record.exc_info[0]:
        return "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return ""


def masked(text: str) -> str:
    """The text without the passwords of the URLs in it."""
    return PASSWORD_IN_URL.sub(r"\1:**@", text)


def configuration(level: str, form: str) -> dict[str, Any]:
    """What `logging.config.dictConfig` takes. All goes to standard error; who runs the process files it."""
    quiet = {"level": level if level == "DEBUG" else "WARNING"}
    through = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"ours": {"()": JsonForm if form == "json" else TextForm}},
        "handlers": {"error": {"class": "logging.StreamHandler", "formatter": "ours"}},
        "root": {"handlers": ["error"], "level": level},
        "loggers": {
            **dict.fromkeys(TWO_LINES_A_MESSAGE, quiet),
            **dict.fromkeys(("uvicorn", "uvicorn.error", "django"), through),
            "uvicorn.access": quiet,
            # At DEBUG it tells whole addresses, which may be a service's password.
            "urllib3": {"level": "INFO" if level == "DEBUG" else level},
            "django.request": {"level": "ERROR"},  # a page that was not found warns nobody
        },
    }
