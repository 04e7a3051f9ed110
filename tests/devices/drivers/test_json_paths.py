from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices.drivers import json_paths
from tests.devices.drivers.test_json_values import ANYTHING

PATHS = st.text(max_size=60) | st.text(alphabet="abc.[]*?@&|(){}`'\"0123,:<>=!-", max_size=40)


@given(PATHS, ANYTHING)
def test_no_path_and_no_tree_is_too_strange(path: str, tree: Any) -> None:
    try:
        json_paths.check(path)
    except ValueError:
        return
    json_paths.look(path, tree)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("b[", r"time 'b\[' is no JMESPath expression: Invalid jmespath expression: Incomplete"),
        ("", "time '' is no JMESPath expression"),
        ("a" * 501, "time: at most 500 characters"),
        ("[" * 400, "time .* is no JMESPath expression"),
    ],
    ids=["torn", "empty", "long", "deep"],
)
def test_what_is_no_path_is_refused_in_words(path: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        json_paths.check(path, "time")


def test_nothing_there_is_told_from_a_path_that_does_not_work() -> None:
    assert json_paths.look("a.b", {"a": {}}, otherwise="unusable") is None
    assert json_paths.look("abs(a)", {"a": "x"}, otherwise="unusable") == "unusable"


def test_an_old_spelling_is_taken_without_a_warning() -> None:
    json_paths.check("a == `b`")
