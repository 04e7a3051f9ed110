"""Bad points are found and left out; what is no point's fault keeps the whole batch."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings, strategies as st

from telemetry.sinks.delivery import SEARCHES_MOST, Delivery, Kept
from telemetry.sinks.outcome import Outcome, Verdict

ACCEPTED = Outcome(Verdict.ACCEPTED)
KEPT = Outcome(Verdict.KEPT, "503", 7.0)
Write = Callable[[Sequence[str]], Outcome]


class Server:
    """It takes what is not bad: all the good points of a batch, or none of a batch with a bad one."""

    def __init__(self, bad: set[str], *, partial: bool, limit: int = 10_000, words: str = "conflict") -> None:
        self.bad, self.partial, self.limit, self.words = bad, partial, limit, words
        self.taken: list[str] = []
        self.writes = 0

    def write(self, lines: Sequence[str]) -> Outcome:
        self.writes += 1
        if len(lines) > self.limit:
            return Outcome(Verdict.TOO_LARGE, "413")
        refused = self.bad.intersection(lines)
        if not refused or self.partial:
            self.taken += [line for line in lines if line not in self.bad]
        if not refused:
            return ACCEPTED
        dropped = len(refused) if self.partial else 0
        verdict = Verdict.REFUSED if self.words else Verdict.DOUBTED
        return Outcome(verdict, self.words or "bad request", is_partial=self.partial, dropped=dropped)


def delivery(write: Write, most: int = 1000, make: Callable[[], Outcome] = lambda: KEPT) -> Delivery:
    return Delivery(write, make, most)


LINES = [f"line {number}" for number in range(100)]


@settings(deadline=None)
@given(
    st.sets(st.sampled_from(LINES)),
    st.booleans(),
    st.integers(1, 120),
    st.integers(1, 120),
    st.sampled_from(["conflict", ""]),
)
def test_all_good_points_arrive_and_all_bad_ones_are_told(
    bad: set[str], partial: bool, limit: int, most: int, words: str
) -> None:
    server = Server(bad, partial=partial, limit=limit, words=words)
    sent = delivery(server.write, most)
    try:
        taken = sent.deliver(LINES)
    except Kept:
        assert not words  # a bad request that is every point's fault is nobody's
        assert bad
        return
    assert set(server.taken) == set(LINES) - bad
    assert taken == len(LINES) - len(bad)
    if server.writes <= SEARCHES_MOST or not partial:
        assert {each.line for each in sent.refused} == bad
    else:  # the search may have an end where the others are stored anyway
        assert sum(each.count for each in sent.refused) == len(bad)


def test_one_bad_point_among_many_is_found_quickly() -> None:
    server = Server({"line 42"}, partial=True)
    sent = delivery(server.write)
    assert sent.deliver(LINES) == 99
    assert [each.line for each in sent.refused] == ["line 42"]
    assert server.writes < 20


def test_where_all_are_dropped_nothing_is_searched() -> None:
    server = Server(set(LINES), partial=True)
    sent = delivery(server.write)
    assert sent.deliver(LINES) == 0
    assert (len(sent.refused), server.writes) == (100, 1)


def test_what_is_too_large_goes_in_halves_from_then_on() -> None:
    server = Server(set(), partial=False, limit=30)
    sent = delivery(server.write)
    assert sent.deliver(LINES) == 100
    assert server.taken == LINES  # in order
    assert sent.most == 25
    writes = server.writes
    sent.deliver(LINES)
    assert server.writes == writes + 4


def test_a_point_that_is_too_large_by_itself_is_set_aside() -> None:
    sent = delivery(Server(set(), partial=False, limit=0).write)
    assert sent.deliver(["a", "b"]) == 0
    assert [each.line for each in sent.refused] == ["a", "b"]


def test_a_failure_keeps_the_batch_and_says_how_long() -> None:
    with pytest.raises(Kept) as kept:
        delivery(lambda lines: KEPT).deliver(LINES)
    assert (kept.value.words, kept.value.wait) == ("503", 7.0)


def test_a_sink_that_is_described_wrongly_loses_no_points() -> None:
    writes = []

    def refuses(lines: Sequence[str]) -> Outcome:
        writes.append(lines)
        return Outcome(Verdict.DOUBTED, "400 invalid org")

    sent = delivery(refuses)
    with pytest.raises(Kept, match="invalid org"):
        sent.deliver(LINES)
    assert not sent.refused
    assert len(writes) == 17


def test_a_missing_database_is_made_once() -> None:
    made = []

    def make() -> Outcome:
        made.append(True)
        return ACCEPTED

    missing = Outcome(Verdict.NO_DATABASE, "404 database not found")
    assert delivery(lambda lines: ACCEPTED if made else missing, make=make).deliver(LINES) == 100
    with pytest.raises(Kept, match="not found"):
        delivery(lambda lines: missing, make=make).deliver(LINES)
    with pytest.raises(Kept, match="cannot be made"):
        delivery(lambda lines: missing).deliver(LINES)
    assert len(made) == 2
