"""What the bot's messages consist of (Matrix client-server specification 1.13: 11.2, 11.6 to 11.8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.html import escape

HTML = "org.matrix.custom.html"
LONGEST = 9_000  # bytes: an event has 65,536, of which an edit, encrypted, takes five times its text and HTML
CUT = "…"

Content = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What is said to a person: plain, and as HTML in which nothing is that came from an instrument."""

    text: str
    html: str = ""

    @classmethod
    def of(cls, title: str, lines: Sequence[str] = ()) -> "Answer":
        """A sentence, with a list under it."""
        text = "\n".join([title, *(f"- {line}" for line in lines)])
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        head = escape(title).replace("\n", "<br>")
        return cls(text, f"<p>{head}</p><ul>{items}</ul>" if lines else head)


def first(lines: Sequence[str], most: int) -> list[str]:
    """The first of many lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"… and {more} more"] if more > 0 else [])]


def text(body: str, html: str = "", *, kind: str = "m.text") -> Content:
    """A message that calls nobody by name, whatever stands in it."""
    content: Content = {"msgtype": kind, "body": cut(body), "m.mentions": {}}
    if html and len(html.encode()) <= LONGEST:
        content |= {"format": HTML, "formatted_body": html}
    return content


def cut(body: str) -> str:
    encoded = body.encode()
    return body if len(encoded) <= LONGEST else encoded[:LONGEST].decode(errors="ignore") + CUT


def for_all(content: Content) -> Content:
    """Calls everybody in the room."""
    return {**content, "m.mentions": {"room": True}}


def in_thread(content: Content, root: str) -> Content:
    """In the thread of a message."""
    relation = {
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": root},
    }
    return {**content, "m.relates_to": relation}


def replying(content: Content, to: str, sender: str, thread: str = "") -> Content:
    """An answer to somebody's message, in its thread if it has one."""
    relation: Content = {"m.in_reply_to": {"event_id": to}}
    if thread:
        relation |= {"rel_type": "m.thread", "event_id": thread, "is_falling_back": False}
    return {**content, "m.mentions": {"user_ids": [sender]}, "m.relates_to": relation}


def edit(content: Content, of: str) -> Content:
    """What a message says from now on. Nobody is called again."""
    shown = {**content, "body": f"* {content['body']}"}
    if "formatted_body" in content:
        shown["formatted_body"] = f"* {content['formatted_body']}"
    return {
        **shown,
        "m.mentions": {},
        "m.new_content": {**content, "m.mentions": {}},
        "m.relates_to": {"rel_type": "m.replace", "event_id": of},
    }


def picture(name: str, caption: Answer, file: Content, info: Content) -> Content:
    """A PNG with its caption. `file` is `{"url": …}`, or `{"file": {…}}` in an encrypted room."""
    content = text(caption.text, caption.html, kind="m.image")
    return {**content, "filename": name, "info": {"mimetype": "image/png", **info}, **file}


@dataclass(frozen=True)
class Relation:
    """What an incoming event is about: the message it answers, and the thread it stands in."""

    target: str = ""
    thread: str = ""
    is_edit: bool = False


def relation_of(content: Any) -> Relation:
    """Within a thread a plain message is about the thread's root. No form here is to be trusted."""
    related = content.get("m.relates_to") if isinstance(content, dict) else None
    if not isinstance(related, dict):
        return Relation()
    thread = _id(related) if related.get("rel_type") == "m.thread" else ""
    answered = _id(related.get("m.in_reply_to"))
    target = thread if thread and related.get("is_falling_back") else answered or thread
    return Relation(target, thread, related.get("rel_type") == "m.replace")


def _id(related: Any) -> str:
    found = related.get("event_id") if isinstance(related, dict) else None
    return found if isinstance(found, str) else ""
