"""What a server's answer to a write means, and how long to wait after a failure. Arithmetic only.

Sources: the tables of InfluxDB's write semantics, measured on 1.6.7 (protocol notes, bme280 §10), of 2.x and
3.x from their documentation (§11): https://docs.influxdata.com/influxdb/v2/write-data/troubleshoot/.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

LONGEST_WAIT_S = 300.0
FIRST_WAIT_S = 1.0
JITTER = 0.1  # of the wait, at most, so that many do not come back together
WORDS_MOST = 500

ABOUT_POINTS = re.compile(
    r"pars|partial write|field type|conflict|retention|limit exceeded|schema|invalid (field|number|boolean)"
    r"|missing (tag|field)|timestamp|line protocol|time outside",
    re.IGNORECASE,
)
PARTIAL = re.compile(r"partial write", re.IGNORECASE)
DROPPED = re.compile(r"dropped=(\d+)")
NO_DATABASE = re.compile(r"database not found", re.IGNORECASE)


class Verdict(Enum):
    """What is to be done next."""

    ACCEPTED = "accepted"
    REFUSED = "refused"  # for the sake of some of its points: find them, and send the rest
    DOUBTED = "doubted"  # a bad request, which may be the fault of a point or of how the sink is described
    TOO_LARGE = "too large"  # send it in halves
    NO_DATABASE = "no database"  # make it, and send it again
    KEPT = "kept"  # later, all of it


@dataclass(frozen=True, slots=True)
class Outcome:
    """`words`: the server's, or ours where it said nothing. `wait`: seconds that it asks for.

    Of what is refused: `is_partial`: the other points are stored; `dropped`: how many it says it dropped.
    """

    verdict: Verdict
    words: str = ""
    wait: float = 0.0
    is_partial: bool = False
    dropped: int = 0


def judged(status: int, words: str, retry_after: str, now: datetime) -> Outcome:
    """What an answer means. `retry_after` is that header; "" for none."""
    said = f"{status} {words}".strip()
    if 200 <= status < 300:
        return Outcome(Verdict.ACCEPTED)
    if status == 413:
        return Outcome(Verdict.TOO_LARGE, said)
    if status in (400, 422):
        if not ABOUT_POINTS.search(words):
            return Outcome(Verdict.DOUBTED, said)
        dropped = DROPPED.search(words)
        is_partial = bool(PARTIAL.search(words))
        return Outcome(
            Verdict.REFUSED, said, is_partial=is_partial, dropped=int(dropped[1]) if dropped else 0
        )
    if status == 404 and NO_DATABASE.search(words):
        return Outcome(Verdict.NO_DATABASE, said)
    if status == 404 and "page not found" in words:
        said += ": this server does not know this interface; try the other one (v1 or v2)"
    if 300 <= status < 400:
        said += ": redirects are not followed"
    return Outcome(Verdict.KEPT, said, asked_wait(retry_after, now))


def words_of(body: bytes, header: str = "") -> str:
    """What a server says is wrong: of JSON its message, else the text as it is."""
    shown = body.decode("utf-8", "replace").strip()
    try:
        said = json.loads(shown)
    except ValueError:
        said = None
    if isinstance(said, dict):
        main = said.get("error") or said.get("message") or ""
        more = [
            each.get("error_message", "")
            for each in (said["data"] if isinstance(said.get("data"), list) else [])
            if isinstance(each, dict)
        ]
        shown = "; ".join(str(part) for part in [main, *more] if part) or shown
    return (shown or header).replace("\0", "")[:WORDS_MOST]


def asked_wait(text: str, now: datetime) -> float:
    """Seconds of a Retry-After: a number or a date (RFC 9110, 10.2.3); 0 for what is neither."""
    try:
        seconds = float(text) if text.strip().isdigit() else _seconds_until(parsedate_to_datetime(text), now)
    except (TypeError, ValueError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _seconds_until(at: datetime, now: datetime) -> float:
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()


def wait_after(failures: int, asked: float, chance: float) -> float:
    """Seconds to wait after so many failures in a row; `chance` from 0 to 1 makes the jitter."""
    own = min(FIRST_WAIT_S * 2.0 ** min(max(failures, 1) - 1, 30), LONGEST_WAIT_S)
    return max(own, min(asked, LONGEST_WAIT_S)) * (1 + JITTER * chance)
