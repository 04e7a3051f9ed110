"""The one way in which tests wait for something: ask until it is so, with an end."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(condition: Callable[[], Found], within: float = 10.0, what: str = "", every: float = 0.02) -> Found:
    """The first answer of `condition` that is true; AssertionError if none comes within so many seconds."""
    end = time.monotonic() + within
    while True:
        if found := condition():
            return found
        if time.monotonic() > end:
            raise AssertionError(
                f"not within {within:g} s: {what or getattr(condition, '__name__', condition)}"
            )
        time.sleep(every)
