"""The form of the logs, and what must not be in them."""

import json
import logging
import sys

import pytest

from devices import logs


def record(message: str, *arguments: object, error: bool = False) -> logging.LogRecord:
    raised = None
    if error:
        try:
            int("redis://:confidential@lab/0")
        except ValueError:
            raised = sys.exc_info()
    found = logging.LogRecord("labsite.x", logging.WARNING, __file__, 1, message, arguments, raised)
    found.created = 1_767_225_600.25
    return found


def test_text_is_one_line_with_the_time_in_utc() -> None:
    line = logs.TextForm().format(record("poll %s took %.2f s", "kelda", 1.5))
    assert line == "2026-01-01T00:00:00.250Z WARNING labsite.x: poll kelda took 1.50 s"


def test_a_message_cannot_pass_itself_off_as_two() -> None:
    lines = logs.TextForm().format(record("name\n2026-01-01T00:00:00.000Z ERROR x: made up")).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("    ")


def test_json_is_one_object_a_line() -> None:
    text = logs.JsonForm().format(record("two\nlines", error=True))
    assert "\n" not in text
    fields = json.loads(text)
    assert (fields["level"], fields["logger"], fields["message"]) == ("WARNING", "labsite.x", "two\nlines")
    assert fields["trace"].startswith("Traceback")


@pytest.mark.parametrize("form", [logs.TextForm(), logs.JsonForm()], ids=["text", "json"])
@pytest.mark.parametrize(
    "url",
    [
        "redis://:confidential@lab:6379/0",
        "postgresql://labsite:confidential@10.0.0.1/labsite",
        "amqp://user:confid:ential@lab//",
    ],
)
def test_no_password_of_a_url_is_logged(form: logging.Formatter, url: str) -> None:
    text = form.format(record("connecting to %s", url, error=True))
    assert "confid" not in text
    assert ":**@" in text
