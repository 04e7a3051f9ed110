"""What the bot's messages consist of."""

import json

import pytest
from hypothesis import given, settings, strategies as st

from alerts.matrix import content
from alerts.matrix.content import Answer, Relation


def test_an_answer_is_html_in_which_nothing_is_that_came_from_an_instrument() -> None:
    answer = Answer.of("<b>bath</b>", ["a & b", "<script>"])
    assert answer.text == "<b>bath</b>\n- a & b\n- <script>"
    assert answer.html == ("<p>&lt;b&gt;bath&lt;/b&gt;</p><ul><li>a &amp; b</li><li>&lt;script&gt;</li></ul>")


def test_nobody_is_called_whatever_stands_in_a_text() -> None:
    said = content.text("@room @anna:lab.test", "@room")
    assert said["m.mentions"] == {}
    assert content.for_all(said)["m.mentions"] == {"room": True}
    assert content.edit(content.for_all(said), "$1")["m.mentions"] == {}
    assert content.edit(content.for_all(said), "$1")["m.new_content"]["m.mentions"] == {}


@settings(max_examples=25)
@given(st.text(min_size=50, max_size=200), st.integers(1, 200))
def test_the_longest_message_fits_into_an_event(part: str, times: int) -> None:
    """65,536 bytes, of which encryption takes a third more."""
    body = part * times
    said = content.edit(content.text(body, body), "$" + "a" * 43)
    assert len(said["body"].encode()) <= content.LONGEST + 10
    printable = "".join(sign for sign in body if sign.isprintable() and sign not in '"\\')
    said = content.edit(content.text(printable, printable), "$" + "a" * 43)
    assert len(json.dumps(said, ensure_ascii=False).encode()) * 4 / 3 < 60_000


@pytest.mark.parametrize(
    ("related", "relation"),
    [
        (None, Relation()),
        ("$1", Relation()),
        ({"m.in_reply_to": {"event_id": "$1"}}, Relation("$1")),
        ({"m.in_reply_to": "$1"}, Relation()),
        ({"m.in_reply_to": {"event_id": 1}}, Relation()),
        ({"rel_type": "m.replace", "event_id": "$1"}, Relation(is_edit=True)),
        ({"rel_type": "m.thread", "event_id": "$1"}, Relation("$1", "$1")),
        (
            {
                "rel_type": "m.thread",
                "event_id": "$1",
                "is_falling_back": True,
                "m.in_reply_to": {"event_id": "$2"},
            },
            Relation("$1", "$1"),
        ),
        (
            {"rel_type": "m.thread", "event_id": "$1", "m.in_reply_to": {"event_id": "$2"}},
            Relation("$2", "$1"),
        ),
    ],
)
def test_what_an_event_is_about(related: object, relation: Relation) -> None:
    assert content.relation_of({"m.relates_to": related}) == relation


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["m.relates_to", "m.in_reply_to", "event_id", "rel_type", "x"]), inner
            )
        ),
    )
)
def test_no_content_makes_it_stumble(said: object) -> None:
    assert isinstance(content.relation_of(said).target, str)
