"""QuantStudio, the wire: lines and tagged blocks in, numbered commands out (protocol notes §1, §2, §6)."""

import asyncio
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass

from devices.errors import DriverError, LinkError, ReplyError
from devices.links.stream import StreamLink

LINE_BYTES_MAX = 65_536  # outside of tags
MESSAGE_BYTES_MAX = 1 << 20  # tagged blocks included
PIECE_BYTES = 65_536  # of a block that is handed on while it comes
TAG_BYTES_MAX = 64
DEPTH_MAX = 50
ARRIVALS_APART = 0.1  # seconds; those nearer to each other count as one
TAG_OPEN_MAX = 30.0  # seconds; one that is open for longer was never meant as a tag, or lost its end
WORDS_MAX = 65_536  # characters of a reply that is taken apart into words
IDENT_END = 1 << 32

_TAG_OR_END = re.compile(rb"<(/?)([A-Za-z0-9._-]{1,60})>|\n")
_TAG = re.compile(rb"<(/?)([A-Za-z0-9._-]{1,60})>")
_TAG_HEAD = re.compile(rb"<(?:/?[A-Za-z0-9._-]{0,60})\Z")

Piece = Callable[[bytes], None]
Log = Callable[[str, str], None]


class Framer:
    """Puts messages together: each ends at the first line end outside of tags. Holds at most
    `MESSAGE_BYTES_MAX` and one chunk; raises LinkError for a message that is longer.

    `spill(head, piece)` is offered what comes of a long block, line by line from its first; if it returns
    True, it has taken the piece, and the message is told without.

    `held_for`: how long ago the message came that is being told; one within a tag without end has waited.
    """

    def __init__(
        self,
        tell: Callable[[bytes], None],
        clock: Callable[[], float],
        spill: Callable[[bytes, bytes], bool] | None = None,
    ) -> None:
        self._tell, self._clock, self._spill = tell, clock, spill
        self._held = bytearray()
        self._scanned = 0
        self._open: list[bytes] = []
        self._opened_at = 0.0
        self._is_skipping = False
        self._arrived: list[tuple[int, float]] = []  # within a tag: up to where what is held came when
        self.held_for = 0.0  # seconds

    def feed(self, chunk: bytes) -> None:
        """Raises LinkError."""
        if self._open and self._clock() - self._opened_at > TAG_OPEN_MAX:
            self._close_by_force()
        self._held += chunk
        while self._take_one():
            pass
        if self._open:
            self._note_arrival()
        self._keep_small()

    def _note_arrival(self) -> None:
        now, arrived = self._clock(), self._arrived
        if arrived and now - arrived[-1][1] < ARRIVALS_APART:
            now = arrived.pop()[1]
        arrived.append((len(self._held), now))

    def _take_one(self) -> bool:
        """Look for the end of the message at hand; whether there was one."""
        if self._is_skipping:
            return self._skip()
        held, open_tags = self._held, self._open
        position = self._scanned
        while True:
            found = (_TAG if open_tags else _TAG_OR_END).search(held, position)
            if found is None:
                head = _TAG_HEAD.search(held, max(position, len(held) - TAG_BYTES_MAX))
                self._scanned = head.start() if head else len(held)
                return False
            position = found.end()
            closes, name = found.groups()
            if name is None:
                message = bytes(held[: found.start()])
                self._drop(position)
                self._tell(message)
                return True
            if not closes and len(open_tags) < DEPTH_MAX:
                if not open_tags:
                    self._opened_at = self._clock()
                open_tags.append(name)
            elif closes and open_tags and open_tags[-1] == name:
                open_tags.pop()
            else:  # nested badly: no telling what it says
                self._drop(position)
                self._is_skipping = True
                return True

    def _skip(self) -> bool:
        end = self._held.find(b"\n")
        self._drop(end + 1 if end >= 0 else len(self._held))
        self._is_skipping = end < 0
        return end >= 0

    def _drop(self, end: int) -> None:
        del self._held[:end]
        self._scanned = 0
        self._open.clear()
        self._arrived.clear()

    def _close_by_force(self) -> None:
        """What a tag seemed to swallow is heard after all, line by line, but for lines with tags."""
        *lines, rest = bytes(self._held).split(b"\n")
        self._held[:] = b"" if _TAG.search(rest) else rest
        self._is_skipping = not self._held and bool(rest)
        self._scanned = 0
        self._open.clear()
        arrived, self._arrived = iter(self._arrived), []
        now, end, (known, when) = self._clock(), 0, (0, 0.0)
        try:
            for line in lines:
                end += len(line) + 1
                while known < end:
                    known, when = next(arrived)
                self.held_for = now - when
                if not _TAG.search(line):
                    self._tell(line)
        finally:
            self.held_for = 0.0

    def _keep_small(self) -> None:
        """See that what is held does not grow without end."""
        held = self._held
        if self._open and len(held) > PIECE_BYTES and self._spill is not None:
            start = held.find(b"\n") + 1
            if start and self._spill(bytes(held[: start - 1]), bytes(held[start : self._scanned])):
                del held[start : self._scanned]
                self._scanned = start
                self._opened_at = self._clock()
                self._arrived.clear()
                self._note_arrival()
        most = MESSAGE_BYTES_MAX if self._open else LINE_BYTES_MAX
        if len(held) > most:
            self._drop(len(held))
            raise LinkError(f"a message of more than {most} bytes without an end")


class Refusal(ReplyError):
    """An `ERRor` reply. `kind` is its class in brackets, or the text's first word."""

    def __init__(self, command: str, text: str) -> None:
        found = re.match(r"\[([^\]\s]{1,60})\]", text)
        self.kind = found[1] if found else text.partition(" ")[0][:60]
        said = text.partition("-->")[2].strip() or text
        super().__init__(f"{command:.80}: refused with {self.kind or 'no reason'}: {said:.200}")


@dataclass(slots=True)
class Pending:
    """A command that has no final reply yet."""

    command: str
    answer: asyncio.Future[str | DriverError]
    piece: Piece | None


class Conversation:
    """Numbered commands and their replies over a link, whatever else comes in between.

    `log(topic, text)` hears the lines that were subscribed; it must not raise.
    """

    def __init__(self, link: StreamLink, log: Log) -> None:
        self._link, self._log = link, log
        self._loop = asyncio.get_running_loop()
        self._pending: dict[int, Pending] = {}
        self._ident = 0
        self._framer = Framer(self._hear, self._loop.time, self._spill)
        self._greeting: asyncio.Future[str | DriverError] = self._loop.create_future()
        self.lost: LinkError | None = None
        self.heard_at = self._loop.time()  # anything at all
        link.listen(self._feed, self._lose)

    @property
    def held_for(self) -> float:
        """Seconds since the line that is being told came."""
        return self._framer.held_for

    async def greeted(self) -> dict[str, str]:
        """What the machine says of itself. Raises LinkError if it is no QuantStudio."""
        said = await self._greeting
        if isinstance(said, DriverError):
            raise LinkError(str(said))
        return options_of(said)[0]

    async def ask(self, command: str, piece: Piece | None = None) -> str:
        """What the final OK (or WARNing) says. Raises Refusal for an ERRor, LinkError if the link is lost.

        Of a long block, `piece` is given the first parts as they come, and the reply holds only the rest.
        """
        ident, future = self.send(command, piece)
        try:
            answer = await future
        finally:
            self._pending.pop(ident, None)  # so that a late reply meets nobody
        if isinstance(answer, DriverError):
            raise answer
        return answer

    def send(self, command: str, piece: Piece | None = None) -> tuple[int, asyncio.Future[str | DriverError]]:
        if self.lost is not None:
            raise LinkError(str(self.lost))
        ident, self._ident = self._ident, (self._ident + 1) % IDENT_END
        pending = Pending(command, self._loop.create_future(), piece)
        self._pending[ident] = pending
        self._link.write(f"{ident} {command}\n".encode())
        return ident, pending.answer

    # ---- what comes

    def _feed(self, chunk: bytes) -> None:
        self.heard_at = self._loop.time()
        try:
            self._framer.feed(chunk)
        except LinkError as error:
            self._link.break_off(str(error))

    def _lose(self, error: LinkError) -> None:
        self.lost = error
        for pending in self._pending.values():
            _settle(pending.answer, error)
        _settle(self._greeting, error)

    def _hear(self, message: bytes) -> None:
        text = message.decode("utf-8", "replace").rstrip("\r")
        word, _, rest = text.partition(" ")
        if word == "MESSage":
            topic, _, said = rest.partition(" ")
            self._log(topic, said)
        elif not self._greeting.done():
            self._hear_greeting(word, rest)
        elif word in {"OK", "WARNing", "ERRor"}:
            self._hear_reply(word, rest)
        # A NEXT is followed by what counts; other lines are none of ours.

    def _hear_greeting(self, word: str, rest: str) -> None:
        if word.lower() == "ready":
            _settle(self._greeting, rest)
        else:
            text = f"no QuantStudio greets with {word[:40]!r}; its first word is READy"
            _settle(self._greeting, LinkError(text))

    def _hear_reply(self, word: str, rest: str) -> None:
        head, _, said = rest.partition(" ")
        pending = self._pending.get(int(head)) if head.isdecimal() and len(head) <= 10 else None
        if pending is not None:
            _settle(pending.answer, Refusal(pending.command, said) if word == "ERRor" else said)

    def _spill(self, head: bytes, part: bytes) -> bool:
        words = head.split(b" ", 2)
        if len(words) < 2 or words[0] != b"OK" or not words[1].isdigit() or len(words[1]) > 10:
            return False
        pending = self._pending.get(int(words[1]))
        if pending is None or pending.piece is None:
            return False
        pending.piece(part)
        return True


def _settle(future: asyncio.Future[str | DriverError], answer: str | DriverError) -> None:
    if not future.done():
        future.set_result(answer)


def proof(password: str, challenge: str) -> str:
    """The argument of AUTH."""
    return hmac.new(password.encode(), challenge.encode(), hashlib.md5).hexdigest()


# ---- what replies hold


def words_of(text: str) -> list[str]:
    """A reply's words: bare, quoted (then without the quotes) or tagged (with the tags).

    Raises ReplyError for one that is too long to be any.
    """
    if len(text) > WORDS_MAX:
        raise ReplyError(f"a reply of {len(text)} characters where words were expected: {text:.60}")
    words: list[str] = []
    position, may_be_tags = 0, True
    while found := _WORD.search(text, position):
        position = found.end()
        if not (found["tag"] and may_be_tags):
            words.append(f"{found['option'] or ''}{_unquoted(found['value'])}")
            continue
        close = f"</{found['tag']}>"
        end = text.rfind(close)  # nothing but options and words stands beside a block
        may_be_tags = end >= 0  # what is framed well is closed: there is no need to look again
        position = max(position, end + len(close))
        words.append(text[found.start() : position])
    return words


_WORD = re.compile(
    r"""(?P<option>-[A-Za-z][\w.-]*=)?(?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|<(?P<tag>[A-Za-z0-9._-]{1,60})>|\S+)""",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), value[1:-1])
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == "'" else value


def options_of(text: str) -> tuple[dict[str, str], list[str]]:
    """A reply's `-Name=value` options, as they are written, and its other words. Raises ReplyError."""
    options: dict[str, str] = {}
    rest: list[str] = []
    for word in words_of(text):
        found = _OPTION.match(word)
        if found:
            options[found[1]] = found[2] or ""
        else:
            rest.append(word)
    return options, rest


_OPTION = re.compile(r"-([A-Za-z][\w.-]*)(?:=(.*))?\Z", re.DOTALL)


def block_of(text: str) -> str:
    """What stands within the tags of a reply that is one block. Raises ReplyError."""
    found = re.match(r"\s*<([A-Za-z0-9._-]{1,60})>", text)
    end = text.rfind(f"</{found[1]}>") if found else -1
    if not found or end < 0:
        raise ReplyError(f"no block: {text[:60]!r}")
    return text[found.end() : end]


def quoted(text: str) -> str:
    """A word of a command. Raises ReplyError for one that the machine would not take as it is written."""
    if any(character in "$<>" or not character.isprintable() for character in text):
        raise ReplyError(f"{text!r:.80} cannot be asked for by its name")
    if re.fullmatch(r"[\w./*:-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Decoder:
    """Base64 in pieces, as the body of a READ? reply; what it holds goes to `tell`, in pieces too."""

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        self._tell = tell
        self._rest = b""
        self.is_damaged = False

    def feed(self, piece: bytes) -> None:
        clean = self._rest + piece.translate(None, b" \t\r\n")
        end = len(clean) - len(clean) % 4
        self._rest = clean[end:]
        try:
            self._tell(binascii.a2b_base64(clean[:end], strict_mode=True))
        except binascii.Error:
            self.is_damaged = True

    def end(self, reply: str) -> None:
        """The reply itself: the rest of the block. Raises ReplyError if not all of it could be read."""
        self.feed(block_of(reply).encode())
        if self.is_damaged or self._rest:
            raise ReplyError("a file came damaged")
