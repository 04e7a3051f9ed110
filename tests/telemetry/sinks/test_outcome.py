"""What answers mean: the tables of what servers say, and the back-off."""

from datetime import UTC, datetime

import pytest

from telemetry.sinks.outcome import Verdict, asked_wait, judged, wait_after, words_of

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

ANSWERS = [
    (204, "", Verdict.ACCEPTED),
    (200, "", Verdict.ACCEPTED),
    (400, "partial write: unable to parse 'x': missing fields dropped=0", Verdict.REFUSED),
    (400, "unable to parse 'x': invalid number", Verdict.REFUSED),
    (400, 'partial write: field type conflict: input field "v" on measurement "m" is …', Verdict.REFUSED),
    (400, "partial write: points beyond retention policy dropped=3", Verdict.REFUSED),
    (400, "partial write: max-values-per-tag limit exceeded (1/1): … dropped=1", Verdict.REFUSED),
    (422, "failure writing points to database: partial write: field type conflict", Verdict.REFUSED),
    (400, "database is required", Verdict.DOUBTED),
    (400, "invalid org", Verdict.DOUBTED),
    (404, 'database not found: "lab"', Verdict.NO_DATABASE),
    (404, 'bucket "lab" not found', Verdict.KEPT),
    (404, "404 page not found", Verdict.KEPT),
    (401, "authorization failed", Verdict.KEPT),
    (403, '"joe" user is not authorized to write to database "lab"', Verdict.KEPT),
    (405, "method not allowed", Verdict.KEPT),
    (413, "Request Entity Too Large", Verdict.TOO_LARGE),
    (429, "too many requests", Verdict.KEPT),
    (500, "retention policy not found: x", Verdict.KEPT),
    (500, "engine: cache-max-memory-size exceeded", Verdict.KEPT),
    (503, "", Verdict.KEPT),
    (301, "", Verdict.KEPT),
]


@pytest.mark.parametrize(("status", "words", "verdict"), ANSWERS, ids=lambda value: str(value)[:40])
def test_verdicts(status: int, words: str, verdict: Verdict) -> None:
    assert judged(status, words, "", NOW).verdict is verdict


def test_of_what_is_refused_it_is_known_whether_the_rest_is_stored() -> None:
    some = judged(400, "partial write: points beyond retention policy dropped=3", "", NOW)
    assert (some.is_partial, some.dropped) == (True, 3)
    none = judged(400, "unable to parse 'x'", "", NOW)
    assert (none.is_partial, none.dropped) == (False, 0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":"database is required"}\n', "database is required"),
        (b'{"code":"not found","message":"bucket \\"x\\" not found"}', 'bucket "x" not found'),
        (
            (
                b'{"error":"partial write of line protocol occurred",'
                b'"data":[{"original_line":"a","line_number":2,"error_message":"no fields"}]}'
            ),
            "partial write of line protocol occurred; no fields",
        ),
        (b"<html>Too large</html>", "<html>Too large</html>"),
        (b"", "of the header"),
        (b"[1]", "[1]"),
    ],
)
def test_the_servers_words(body: bytes, words: str) -> None:
    assert words_of(body, "of the header") == words


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("7", 7),
        ("86400", 300),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
        ("soon", 0),
        ("-3", 0),
    ],
)
def test_how_long_a_server_asks_to_wait(header: str, seconds: float) -> None:
    assert asked_wait(header, NOW) == seconds


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    assert [wait_after(n, 0, 0) for n in range(1, 12)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert wait_after(1_000_000, 0, 1) == pytest.approx(330)
    assert wait_after(1, 7, 0) == 7
    assert wait_after(4, 7, 0.5) == pytest.approx(8.4)
