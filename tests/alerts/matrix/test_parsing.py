"""What people write, taken apart."""

from datetime import timedelta

import pytest
from hypothesis import given, strategies as st

from alerts.matrix import parsing
from alerts.matrix.parsing import Command


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("!status", Command("status")),
        ("!STATUS  qPCR 1 ", Command("status", "qPCR 1")),
        ('  !command "My Machine"  EXP:RUN "a  B"', Command("command", '"My Machine"  EXP:RUN "a  B"')),
        ("!ack 17 on\nmy way", Command("ack", "17 on\nmy way")),
        ("status", None),
        ("please !status", None),
        ("!", None),
        ("!!!", None),
        ("!5", None),
        ("!ack17", None),
        ("", None),
    ],
)
def test_commands(body: str, command: Command | None) -> None:
    assert parsing.command_in(body) == command


@pytest.mark.parametrize(
    ("body", "comment"),
    [
        ("ack", ""),
        ("Ack!", ""),
        ("ack.", ""),
        ("ACK, looking at it", "looking at it"),
        ("!ack on my way", "on my way"),
        ("acknowledged", None),
        ("acknowledge", ""),
        ("ack-ack", None),
        ("back", None),
    ],
)
def test_acknowledgements_in_replies(body: str, comment: str | None) -> None:
    assert parsing.acknowledgement_in(body) == comment


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("30m why", (timedelta(minutes=30), "why")),
        ("2h", (timedelta(hours=2), "")),
        ("1.5 h  broken", (timedelta(hours=1.5), "broken")),
        ("1D x", (timedelta(days=1), "x")),
        ("90min x", (timedelta(minutes=90), "x")),
        ("2hours x", None),
        ("h", None),
        ("-1h", None),
        ("10", None),
    ],
)
def test_times(text: str, found: tuple[timedelta, str] | None) -> None:
    assert parsing.time_in(text) == found


@pytest.mark.parametrize(
    ("text", "found"), [("17", (17, "")), ("#17 a b", (17, "a b")), ("17a", None), ("a 17", None), ("", None)]
)
def test_numbers(text: str, found: tuple[int, str] | None) -> None:
    assert parsing.number_in(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bath 2", ("Bath 2", "")),
        ("BATH 2 temperature 24", ("Bath 2", "temperature 24")),
        ("bath rest", ("Bath", "rest")),
        ("bathing", None),
        ('"bath 2" Rest OF it', ("Bath 2", "Rest OF it")),
        ("“Bath 2” x", ("Bath 2", "x")),
        ("„Bath 2“", ("Bath 2", "")),
        ('"bath', None),
        ('"nothing" x', None),
        ("STRASSE 5", ("Straße", "5")),
        ("", None),
    ],
)
def test_names(text: str, found: tuple[str, str] | None) -> None:
    assert parsing.named_in(text, ["Bath", "Bath 2", "Straße"], str) == found


def test_a_reply_of_an_older_client_repeats_what_it_replies_to() -> None:
    assert parsing.without_quotation("> <@labsite:lab.test> bath\n> above 30\n\nack, soon") == "ack, soon"
    assert parsing.without_quotation("ack") == "ack"
    assert parsing.without_quotation("> only a quotation") == ""


words = st.text(max_size=60)


@given(words)
def test_nothing_that_is_written_makes_it_stumble(body: str) -> None:
    command = parsing.command_in(body)
    if command:
        assert body.strip().lower().startswith(f"!{command.name}")
        assert command.name.isascii()
        assert body.strip().endswith(command.rest)
    for part in (parsing.number_in, parsing.time_in, parsing.quoted_in, parsing.acknowledgement_in):
        part(body)
    assert parsing.without_quotation(body) in (body, parsing.without_quotation(body))


@given(st.lists(words.map(str.strip).filter(bool), min_size=1), st.data(), words.map(str.strip))
def test_a_name_is_found_whatever_its_capitals(names: list[str], data: st.DataObject, rest: str) -> None:
    name = data.draw(st.sampled_from(names))
    said = "".join(data.draw(st.sampled_from([sign, sign.casefold()])) for sign in name)
    found = parsing.named_in(f"{said} {rest}".strip(), names, str)
    if said[0] not in parsing.CLOSING:
        assert found is not None
        thing, more = found
        assert len(thing.casefold()) >= len(name.casefold())
        assert f"{said} {rest}".strip().endswith(more)


@given(
    words.filter(lambda name: name.strip() == name and name and not {'"'} & set(name)), words.map(str.strip)
)
def test_a_quoted_name_is_that_name(name: str, rest: str) -> None:
    assert parsing.named_in(f'"{name}" {rest}', ["other", name], str) in [(name, rest), ("other", rest)]
