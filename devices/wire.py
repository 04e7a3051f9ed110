"""Messages between the centre and its edges: signed, versioned JSON, the same code on both sides.

An envelope is what a Celery task takes as its one argument. Its body is text, so that what was signed
is what arrived, byte for byte. Times are whole microseconds of UTC since 1970 unless a name ends in
`_mono`: those are microseconds of one boot's monotonic clock.
"""

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

VERSION = 1
ACCEPTED_VERSIONS = frozenset({VERSION})  # the centre takes a version and the one before it
BODY_BYTES_MAX = 8_000_000  # of one message's body as text
BATCH_BYTES_MAX = 32_000_000  # of one batch, unpacked

KeyOf = Callable[[str, int], bytes | None]
T = TypeVar("T")


class WireError(Exception):
    """A message cannot be taken."""


class NotAuthentic(WireError):
    """The signature is not the edge's: count it, log it, drop it."""


class UnknownVersion(WireError):
    """Another version of the wire: answered by a nack, neither stored nor forgotten."""


class UnknownKey(WireError):
    """Signed with a key that this side does not have (yet): answered by a nack."""


class Malformed(WireError):
    """Authentic or not, it does not have the form of a message."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What a body decodes to."""


class Envelope(Message, frozen=True):
    """A signed body. `key` is the version of the edge's key; `kind` the name of the body's class."""

    version: int
    kind: str
    edge: str
    key: int
    body: str
    signature: str


# ---- centre to edge


class Order(Message, frozen=True):
    """Poll this instrument every `interval` seconds from `phase` seconds on, until told otherwise."""

    instrument: str  # UUID
    name: str
    driver: str
    address: str
    options: dict[str, Any]
    interval: float
    phase: float
    revision: int


class Once(Message, frozen=True):
    """Of an order that is carried out once and answered by `Tried`: a test of a connection."""

    trial: str  # UUID
    asked: int  # by the centre's clock


class Poll(Message, frozen=True):
    """One instrument's standing order, as the task `edge.poll` brings it; or, with `once`, a single poll.

    The order of a single poll has revision -1: for an edge that does not know `once` it is over.
    """

    epoch: str
    order: Order
    once: Once | None = None


class Stop(Message, frozen=True):
    """Poll this instrument no more."""

    epoch: str
    instrument: str
    revision: int


class Book(Message, frozen=True):
    """All instruments of an edge at one revision; removes orders of that revision or older not in `ids`.

    `orders` is None when only the names are told (every few minutes), the whole book when an edge was away.
    """

    epoch: str
    revision: int
    ids: list[str]
    orders: list[Order] | None = None


class Ack(Message, frozen=True):
    """What became of batches: stored, rejected (kept at the centre, not to be sent again) or refused.

    `refused` is a nack: the batches are neither stored nor forgotten, and are sent again later.
    """

    spool: str
    sequences: list[int]
    outcome: str
    reason: str
    through: int  # every batch of this spool up to here is at the centre
    received: int  # the centre's clock when the message came
    replied: int  # and when it was answered
    sent_mono: int  # the edge's own stamp, given back


class Welcome(Message, frozen=True):
    """The answer to a hello. `holder` tells whether this instance holds the edge's name."""

    instance: str
    holder: bool
    reason: str
    epoch: str
    revision: int
    spool: str
    through: int
    received: int
    replied: int
    sent_mono: int


# ---- edge to centre


class Hello(Message, frozen=True):
    """An edge's word of itself; every few seconds, and as the only message while nobody answers."""

    instance: str
    previous: str  # the instance that last held this spool on this boot; "" if there was none
    boot: str
    spool: str
    acked_through: int
    epoch: str  # of the book it has; "" if none
    revision: int
    orders: int
    sent_mono: int
    status: dict[str, float | str | None]


class TriedReading(Message, frozen=True):
    """One reading of a single poll, for a person to look at. Of a long vector `value` holds the beginning."""

    key: str
    value: float | int | bool | str | list[float | None] | None
    quality: int
    time: int | None = None
    length: int = 0  # of a vector, in all


class Tried(Message, frozen=True):
    """What came of a single poll; seconds are None where it did not get that far.

    `error`: in words, "" if the instrument was read. `connect` is 0 if the link was open already.
    """

    trial: str
    error: str
    waited: float = 0.0  # for its turn on the link
    connect: float | None = None
    read: float | None = None
    shared: bool = False  # over the link that its polls go by
    readings: list[TriedReading] = []
    told: list[str] = []  # events and runs, a line each


class Gap(Message, frozen=True):
    """What is missing, from when to when, and why. The same start and reason again: the gap has grown."""

    instrument: str  # UUID; "" means every instrument of the edge
    key: str  # channel; "" means every channel
    start: int
    end: int
    reason: str
    count: int = 0  # polls missed, where they can be counted


class VectorRow(Message, frozen=True):
    """One vector of one channel. `instrument` and `labels` are indices in the batch; labels -1: none."""

    instrument: int
    key: str
    time: int
    values: list[float | None]
    labels: int
    quality: int = 0


class EventRow(Message, frozen=True):
    """Something that happened; `instrument` is an index in the batch, `flags` are of a reading's quality."""

    instrument: int
    time: int
    kind: str
    text: str
    fields: dict[str, Any] = {}
    flags: int = 0


class RunRow(Message, frozen=True):
    """How a run stands at `time`; `instrument` is an index in the batch."""

    instrument: int
    time: int
    id: str
    kind: str
    state: str
    title: str = ""
    progress: float | None = None
    start: int | None = None
    end: int | None = None
    fields: dict[str, Any] = {}
    own_time: bool = False  # `start`, `end` and `time` are by the instrument's own clock
    unsure: bool = False  # the edge's clock had not been compared with the centre's


class Batch(Message, frozen=True):
    """About a second of readings of one edge, in columns.

    One row is one instrument's readings at one time: `rows` holds, flat, three numbers for each: index in
    `instruments`, index in `keysets`, and the time as the difference to the row before (the first: to 0).
    `values`, `qualities` (None: all good) run through the rows and, in each, through its keys; what is not
    a number is None in `values` and, if it is text, stands in `texts` under its index.
    `seen`: flat pairs (index in `instruments`, time) of polls that brought nothing new.
    """

    instruments: list[str]
    keysets: list[list[str]]
    rows: list[int]
    values: list[float | None]
    qualities: list[int] | None = None
    texts: dict[str, str] = {}
    seen: list[int] = []
    gaps: list[Gap] = []
    vectors: list[VectorRow] = []
    labels: list[list[str]] = []
    events: list[EventRow] = []
    runs: list[RunRow] = []


class Parcel(Message, frozen=True):
    """Batches on their way: consecutive ones of one track, each packed as it lies in the spool.

    `shifts`: µs to add to a batch's times, learnt after it was spooled (a clock that was set later).
    `sequences` count from 1. `kept_from`: the lowest sequence still in the spool, acknowledged or not; what
    is below it can never be sent (again), so the centre no longer waits for it.
    """

    spool: str
    track: str  # live or backlog
    sequences: list[int]
    shifts: list[int]
    batches: list[str]
    sent_mono: int
    kept_from: int = 0


# ---- sealing and opening

_encoder = msgspec.json.Encoder()


def seal(message: Message, edge: str, key_version: int, key: bytes) -> dict[str, Any]:
    """Put a message into a signed envelope, ready to be a task's argument."""
    kind = type(message).__name__
    body = _encoder.encode(message)
    return {
        "version": VERSION,
        "kind": kind,
        "edge": edge,
        "key": key_version,
        "body": body.decode(),
        "signature": sign(kind, edge, key_version, body, key, VERSION),
    }


def sign(kind: str, edge: str, key_version: int, body: bytes, key: bytes, version: int) -> str:
    """HMAC-SHA256 (RFC 2104) over the header and the body, as hexadecimal text."""
    header = _bytes(f"{version}\n{kind}\n{edge}\n{key_version}\n")
    return hmac.new(key, header + body, hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    """As UTF-8, with the half surrogates that JSON can carry: not authentic, but no reason to fail."""
    return text.encode("utf-8", "surrogatepass")


def envelope_of(raw: object) -> Envelope:
    """The envelope in a task's argument, its signature not yet looked at. Raises Malformed."""
    try:
        return msgspec.convert(raw, Envelope)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from None


def open_envelope(raw: object, expected: type[T], key_of: KeyOf) -> tuple[Envelope, T]:
    """Check who signed an envelope and decode its body.

    `key_of(edge, key_version)` gives the edge's key, or None where it is not known.
    Raises Malformed, UnknownKey, NotAuthentic, UnknownVersion; the last only for an authentic message, so
    that nobody else can make this side answer.
    """
    envelope = envelope_of(raw)
    if len(envelope.body) > BODY_BYTES_MAX:
        raise Malformed(f"body of {len(envelope.body)} bytes")
    if not (envelope.edge.isascii() and envelope.edge.isprintable()):
        raise Malformed(f"in the name of {envelope.edge[:60]!a}, which is no edge's")
    key = key_of(envelope.edge, envelope.key)
    if key is None:
        raise UnknownKey(f"edge {envelope.edge!r}, key version {envelope.key}")
    body = _bytes(envelope.body)
    signature = sign(envelope.kind, envelope.edge, envelope.key, body, key, envelope.version)
    if not hmac.compare_digest(_bytes(signature), _bytes(envelope.signature)):
        raise NotAuthentic(f"message of kind {envelope.kind!r} in the name of edge {envelope.edge!r}")
    if envelope.version not in ACCEPTED_VERSIONS:
        raise UnknownVersion(f"version {envelope.version}; this side takes {sorted(ACCEPTED_VERSIONS)}")
    if envelope.kind != expected.__name__:
        raise Malformed(f"a {envelope.kind}, where a {expected.__name__} is expected")
    try:
        return envelope, msgspec.json.decode(body, type=expected)
    except msgspec.MsgspecError as error:
        raise Malformed(f"{expected.__name__}: {error}") from None


# ---- batches


def pack(batch: Batch) -> bytes:
    """A batch as it lies in the spool: JSON, deflated."""
    return zlib.compress(_encoder.encode(batch), 1)


def unpack(packed: bytes) -> Batch:
    """The batch in a spooled row. Raises Malformed."""
    inflate = zlib.decompressobj()
    try:
        body = inflate.decompress(packed, BATCH_BYTES_MAX)
        if not inflate.eof:
            raise Malformed(f"batch cut short, or larger than {BATCH_BYTES_MAX} bytes")
        return msgspec.json.decode(body, type=Batch)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise Malformed(f"batch: {error}") from None


def as_text(packed: bytes) -> str:
    """A packed batch as it travels in a parcel."""
    return base64.b64encode(packed).decode()


def as_bytes(text: str) -> bytes:
    """A packed batch out of a parcel. Raises Malformed."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Malformed(f"batch: {error}") from None
