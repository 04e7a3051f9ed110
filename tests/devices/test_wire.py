"""Messages between centre and edge: what is opened is what was sealed, or nothing."""

import zlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from devices import wire

KEY = bytes(32)
STOP = wire.Stop("epoch", "instrument", 7)

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
batches = st.builds(
    wire.Batch,
    instruments=st.lists(st.text(max_size=5), max_size=3),
    keysets=st.lists(st.lists(st.text(max_size=5), max_size=3), max_size=3),
    rows=st.lists(st.integers(-(2**53), 2**53), max_size=9),
    values=st.lists(numbers, max_size=9),
    qualities=st.none() | st.lists(st.integers(0, 127), max_size=9),
    texts=st.dictionaries(st.text(max_size=3), st.text(max_size=9), max_size=3),
)


def key_of(edge: str, version: int) -> bytes | None:
    return KEY if (edge, version) == ("bench", 1) else None


def sealed(message: wire.Message = STOP) -> dict[str, Any]:
    return wire.seal(message, "bench", 1, KEY)


def test_what_was_sealed_is_what_is_opened() -> None:
    envelope, stop = wire.open_envelope(sealed(), wire.Stop, key_of)
    assert (envelope.edge, stop) == ("bench", STOP)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"body": '{"epoch":"epoch","instrument":"another","revision":7}'}, wire.NotAuthentic),
        ({"kind": "Poll"}, wire.NotAuthentic),
        ({"version": 2}, wire.NotAuthentic),
        ({"signature": "0" * 64}, wire.NotAuthentic),
        ({"signature": "ü"}, wire.NotAuthentic),
        ({"signature": "\ud800"}, wire.NotAuthentic),
        ({"body": "\ud800"}, wire.NotAuthentic),
        ({"kind": "\ud800"}, wire.NotAuthentic),
        ({"edge": "another"}, wire.UnknownKey),
        ({"key": 2}, wire.UnknownKey),
        ({"edge": "\0"}, wire.Malformed),
        ({"edge": "\ud800"}, wire.Malformed),
        ({"body": 5}, wire.Malformed),
        ({"body": "x" * (wire.BODY_BYTES_MAX + 1)}, wire.Malformed),
    ],
    ids=lambda case: ascii(case)[:30],
)
def test_what_was_altered_is_not_opened(change: dict[str, Any], error: type[wire.WireError]) -> None:
    with pytest.raises(error):
        wire.open_envelope(sealed() | change, wire.Stop, key_of)


def test_only_an_authentic_message_is_told_that_its_version_is_unknown() -> None:
    raw = sealed()
    raw["version"] = 99
    raw["signature"] = wire.sign("Stop", "bench", 1, raw["body"].encode(), KEY, 99)
    with pytest.raises(wire.UnknownVersion, match="version 99"):
        wire.open_envelope(raw, wire.Stop, key_of)


def test_a_message_of_another_kind_is_not_taken() -> None:
    with pytest.raises(wire.Malformed, match="a Stop, where a Poll"):
        wire.open_envelope(sealed(), wire.Poll, key_of)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
    | st.dictionaries(
        st.sampled_from(["version", "kind", "edge", "key", "body", "signature"]), st.integers() | st.text()
    )
)
def test_no_argument_of_a_task_does_worse_than_a_wire_error(raw: object) -> None:
    with pytest.raises(wire.WireError):
        wire.open_envelope(raw, wire.Stop, key_of)


@given(batches)
def test_a_batch_comes_out_of_the_spool_as_it_went_in(batch: wire.Batch) -> None:
    assert wire.unpack(wire.as_bytes(wire.as_text(wire.pack(batch)))) == batch


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_a_malformed_batch(packed: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.unpack(packed)


def test_a_batch_that_unpacks_without_end_is_refused() -> None:
    with pytest.raises(wire.Malformed, match="larger than"):
        wire.unpack(zlib.compress(bytes(wire.BATCH_BYTES_MAX + 1)))
