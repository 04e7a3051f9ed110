"""What people write, taken apart."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

COMMAND = re.compile(r"!([a-z]+)(?!\S)\s*", re.IGNORECASE)
ACKNOWLEDGE = re.compile(r"!?ack(?:nowledge)?(?![\w-])[.:,!]?\s*", re.IGNORECASE)
NUMBER = re.compile(r"#?(\d{1,18})(?!\S)\s*")
TIME = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(m|min|h|d)(?!\S)\s*", re.IGNORECASE)
UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days"}
CLOSING = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "‘": "’"}
QUOTE = "> "  # how older clients repeat, above a reply, what it replies to

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Command:
    """A word after an exclamation mark, in small letters, and what follows it, as it was written."""

    name: str
    rest: str = ""


def command_in(body: str) -> Command | None:
    """The command that a message is; None if it is none."""
    text = body.strip()
    found = COMMAND.match(text)
    return Command(found[1].lower(), text[found.end() :].strip()) if found else None


def acknowledgement_in(body: str) -> str | None:
    """What somebody adds to "ack" or "!ack" in a reply; None if it is no acknowledgement."""
    found = ACKNOWLEDGE.match(body.strip())
    return body.strip()[found.end() :].strip() if found else None


def without_quotation(body: str) -> str:
    """A reply without the lines that repeat what it replies to."""
    lines = body.splitlines()
    if not lines or not lines[0].startswith(QUOTE):
        return body
    own = next((place for place, line in enumerate(lines) if not line.startswith(QUOTE)), len(lines))
    return "\n".join(lines[own:]).strip()


def number_in(text: str) -> tuple[int, str] | None:
    """`17 rest` or `#17 rest`: the number and the rest."""
    found = NUMBER.match(text)
    return (int(found[1]), text[found.end() :]) if found else None


def time_in(text: str) -> tuple[timedelta, str] | None:
    """`30m rest`, `2h rest`, `1d rest`: how long, and the rest."""
    found = TIME.match(text)
    if found is None:
        return None
    return timedelta(**{UNITS[found[2].lower()]: float(found[1])}), text[found.end() :]


def quoted_in(text: str) -> tuple[str, str] | None:
    """`"a name" rest`, in straight or printed quotation marks: the name and the rest."""
    closing = CLOSING.get(text[:1])
    end = text.find(closing, 1) if closing else -1
    if end < 0:
        return None
    return text[1:end].strip(), text[end + 1 :].strip()


def named_in(text: str, things: Iterable[Thing], name: Callable[[Thing], str]) -> tuple[Thing, str] | None:
    """The thing whose name a text begins with, and the rest; the longest such name, whatever its capitals."""
    if quoted := quoted_in(text):
        wanted, rest = quoted
        return next(((thing, rest) for thing in things if name(thing).casefold() == wanted.casefold()), None)
    said = text.casefold()
    for thing in sorted(things, key=lambda thing: -len(name(thing))):
        wanted = name(thing).casefold()
        if said == wanted or said.startswith(wanted + " "):
            return thing, text[_length_of(text, wanted) :].strip()
    return None


def _length_of(text: str, folded: str) -> int:
    """How many characters of a text make up these, folded: folding may change their number."""
    count = 0
    while count < len(text) and len(text[:count].casefold()) < len(folded):
        count += 1
    return count
