"""Secrets of contacts: named in the database, in the environment of the centre only."""

from pathlib import Path

import pytest

from devices import secrets
from devices.errors import ConfigurationError


def test_a_secret_is_a_variable_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "word"
    file.write_text("from a file\n")
    assert secrets.of("CHAT", {"LABSITE_SECRET_CHAT": "a word"}) == "a word"
    assert secrets.of("CHAT", {"LABSITE_SECRET_CHAT_FILE": str(file)}) == "from a file"


@pytest.mark.parametrize(
    ("name", "environment", "words"),
    [
        ("CHAT", {}, "set LABSITE_SECRET_CHAT or LABSITE_SECRET_CHAT_FILE and restart"),
        ("CHAT", {"LABSITE_SECRET_CHAT": " "}, "the centre has no secret CHAT"),
        ("CHAT", {"LABSITE_SECRET_CHAT_FILE": "/nowhere/word"}, "cannot read /nowhere/word: No such file"),
        ("CHAT", {"LABSITE_SECRET_CHAT_FILE": "/dev/null"}, "/dev/null is empty"),
        ("chat", {"LABSITE_SECRET_chat": "a word"}, "named by capitals"),
        ("A=B\n", {}, "named by capitals"),
        ("KEY", {"LABSITE_SECRET_KEY": "signs sessions"}, "is Labsite's own"),
    ],
)
def test_what_is_missing_is_said(name: str, environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        secrets.of(name, environment)
