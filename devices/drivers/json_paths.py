"""Paths into JSON that a lab declares itself: JMESPath (https://jmespath.org)."""

import warnings
from functools import lru_cache
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

PATH_MAX = 500
# What jmespath raises for a path, or for what the path is used on.
UNUSABLE = (JMESPathError, RecursionError, ValueError, TypeError, ArithmeticError, AttributeError)


def check(path: str, name: str = "path") -> None:
    """Raises ValueError, in words, for what is no path."""
    if len(path) > PATH_MAX:
        raise ValueError(f"{name}: at most {PATH_MAX} characters")
    try:
        _compiled(path)
    except UNUSABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name} {path!r:.100} is no JMESPath expression: {reason:.200}") from None


def look(path: str, tree: Any, otherwise: Any = None) -> Any:
    """What is at a path, None if nothing is; `otherwise` if the path cannot be used on this tree."""
    try:
        return _compiled(path).search(tree)
    except UNUSABLE:
        return otherwise


@lru_cache(maxsize=4_096)
def _compiled(path: str) -> ParsedResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)  # of a spelling that it still takes
        return jmespath.compile(path)
