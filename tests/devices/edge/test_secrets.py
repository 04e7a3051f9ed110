"""Instruments' passwords: named in an order, found in the environment, given to allowed hosts only."""

from pathlib import Path

import pytest

from devices.edge import secrets
from devices.errors import ConfigurationError
from devices.links.base import Address

WORD = "hunter2 "
QPCR = {"LABSITE_SECRET_QPCR": WORD, "LABSITE_SECRET_QPCR_HOSTS": "192.168.1.40, qpcr.Lab  ::1,local"}
NAMED = {"password": {"secret": "QPCR"}, "pin": "", "gain": 1.0, "channels": [{"secret": "OTHER"}]}


def of(url: str, environment: dict[str, str]) -> dict[str, str]:
    return secrets.of(NAMED, Address.parse(url), environment)


@pytest.mark.parametrize(
    "url",
    [
        "tcp://192.168.1.40:7000",
        "tls://qpcr.lab:7443",
        "tls://QPCR.LAB:7443",
        "tcp://[::1]:7000",
        "serial:///dev/ttyUSB0",
    ],
)
def test_a_word_is_given_to_the_hosts_that_are_allowed(url: str) -> None:
    assert of(url, QPCR) == {"password": WORD}


@pytest.mark.parametrize(
    "url", ["tcp://192.168.1.41:7000", "tcp://192.168.1.40.evil.net:1", "tcp://lab:1", "tcp://1:1"]
)
def test_it_is_given_to_no_other(url: str) -> None:
    with pytest.raises(ConfigurationError, match="add the host to LABSITE_SECRET_QPCR_HOSTS") as refused:
        of(url, QPCR)
    assert WORD.strip() not in str(refused.value)


def test_without_a_list_of_hosts_it_is_given_to_none() -> None:
    for hosts in ({}, {"LABSITE_SECRET_QPCR_HOSTS": " , "}):
        with pytest.raises(ConfigurationError, match="does not give secret QPCR to 192"):
            of("tcp://192.168.1.40:7000", {"LABSITE_SECRET_QPCR": WORD, **hosts})


def test_a_file_comes_before_a_variable_and_only_its_last_line_end_is_none_of_the_word(
    tmp_path: Path,
) -> None:
    path = tmp_path / "word"
    given = {**QPCR, "LABSITE_SECRET_QPCR_FILE": str(path)}
    for written, word in [("täg \n", "täg "), (" a\r\n", " a"), ("b", "b"), ("c\n\n", "c\n")]:
        path.write_bytes(written.encode())
        assert of("tcp://192.168.1.40:1", given) == {"password": word}


@pytest.mark.parametrize(
    "content", [None, b"", b"\n", b"\xff"], ids=["missing", "empty", "a line end", "bytes"]
)
def test_a_file_of_no_use_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "word"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="LABSITE_SECRET_QPCR_FILE") as refused:
        of("tcp://192.168.1.40:1", {**QPCR, "LABSITE_SECRET_QPCR_FILE": str(path)})
    assert str(path) in str(refused.value)


def test_a_secret_that_is_not_there_is_told_by_its_variable() -> None:
    given = {"LABSITE_SECRET_QPCR_HOSTS": "192.168.1.40"}
    with pytest.raises(ConfigurationError, match="set LABSITE_SECRET_QPCR or LABSITE_SECRET_QPCR_FILE"):
        of("tcp://192.168.1.40:1", given)
    with pytest.raises(ConfigurationError, match="set LABSITE_SECRET_QPCR or"):
        of("tcp://192.168.1.40:1", {**given, "LABSITE_SECRET_QPCR": ""})


def test_what_names_no_secret_needs_none() -> None:
    assert secrets.of({"password": "", "gain": 1.0}, Address.parse("tcp://h:1"), {}) == {}
