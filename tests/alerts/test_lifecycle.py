"""The life cycle against a table of its own, written from ANSI/ISA-18.2-2016, figure 4 and clause 6.2, and
IEC 62682; and random histories against a model that knows only what holds."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given, strategies as st

from alerts import lifecycle
from alerts.lifecycle import ASIDE, STANDING, UNACKNOWLEDGED, Event, State

A, B, C, D, E, F, G, H, I = (  # noqa: E741 - the standard's letters
    State.NORMAL,
    State.UNACKNOWLEDGED,
    State.ACKNOWLEDGED,
    State.RETURNED,
    State.LATCHED,
    State.LATCHED_ACKNOWLEDGED,
    State.SHELVED,
    State.SUPPRESSED,
    State.OUT,
)

# What the standard draws: from → by → to. Whatever is not drawn does not happen.
DRAWN: Mapping[State, Mapping[Event, State]] = {
    A: {Event.RAISE: B, Event.SHELVE: G, Event.SUPPRESS: H, Event.REMOVE: I},
    B: {
        Event.ACKNOWLEDGE: C, Event.CLEAR: D, Event.LATCH: E,
        Event.SHELVE: G, Event.SUPPRESS: H, Event.REMOVE: I,
    },
    C: {Event.CLEAR: A, Event.LATCH: F, Event.SHELVE: G, Event.REMOVE: I},
    D: {Event.ACKNOWLEDGE: A, Event.RAISE: B, Event.SHELVE: G, Event.REMOVE: I},
    E: {Event.ACKNOWLEDGE: F, Event.RAISE: B, Event.REMOVE: I},
    F: {Event.RESET: A, Event.RAISE: B, Event.REMOVE: I},
    G: {Event.UNSHELVE: A, Event.REMOVE: I},
    H: {Event.UNSUPPRESS: A, Event.SHELVE: G, Event.REMOVE: I},
    I: {Event.RETURN: A},
}  # fmt: skip
# What is written down without a move: comments; a longer shelving; what the condition does meanwhile.
NOTED: Mapping[State, frozenset[Event]] = {
    **{state: frozenset({Event.COMMENT}) for state in State},
    G: frozenset({Event.COMMENT, Event.SHELVE, Event.RAISE, Event.CLEAR, Event.LATCH}),
    H: frozenset({Event.COMMENT, Event.RAISE, Event.CLEAR, Event.LATCH}),
    I: frozenset({Event.COMMENT, Event.RAISE, Event.CLEAR, Event.LATCH}),
}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", State)
def test_every_pair_is_as_the_standard_draws_it(state: State, event: Event) -> None:
    expected = DRAWN[state].get(event, state if event in NOTED[state] else None)
    assert lifecycle.after(state, event) == expected


def test_the_table_is_whole() -> None:
    assert set(lifecycle.TABLE) == {(state, event) for state in State for event in Event}


def test_each_state_stands_or_is_aside_or_is_normal() -> None:
    assert {*STANDING, *ASIDE, State.NORMAL} == set(State)
    assert not set(STANDING) & set(ASIDE)
    assert set(UNACKNOWLEDGED) <= set(STANDING)


@dataclass
class Reference:
    """Knows nothing of states: whether the condition holds, it is seen, latched, and put aside how."""

    latching: bool
    active: bool = False
    seen: bool = True
    latched: bool = False
    aside: str = ""

    def take(self, event: Event) -> bool:
        """Whether it could happen."""
        match event:
            case Event.COMMENT:
                return True
            case Event.RAISE | Event.CLEAR | Event.LATCH if self.aside:
                return True
            case Event.RAISE:
                if self.active:
                    return False
                self.active, self.seen, self.latched = True, False, False
            case Event.CLEAR | Event.LATCH:
                if not self.active:
                    return False
                self.active, self.latched = False, event is Event.LATCH
            case Event.ACKNOWLEDGE:
                if self.aside or self.seen:
                    return False
                self.seen = True
            case Event.RESET:
                if self.aside or not (self.latched and self.seen):
                    return False
                self.latched = False
            case Event.SHELVE:
                if self.latched or self.aside == "out":
                    return False
                self.put_aside("shelved")
            case Event.SUPPRESS:
                is_told = self.latched or (self.seen and self.active) or (not self.seen and not self.active)
                if self.aside or is_told:
                    return False
                self.put_aside("suppressed")
            case Event.REMOVE:
                if self.aside == "out":
                    return False
                self.put_aside("out")
            case Event.UNSHELVE | Event.UNSUPPRESS | Event.RETURN:
                wanted = {Event.UNSHELVE: "shelved", Event.UNSUPPRESS: "suppressed", Event.RETURN: "out"}
                if self.aside != wanted[event]:
                    return False
                self.aside = ""
        return True

    def put_aside(self, how: str) -> None:
        self.aside, self.active, self.seen, self.latched = how, False, True, False

    @property
    def state(self) -> State:
        if self.aside:
            return {"shelved": G, "suppressed": H, "out": I}[self.aside]
        if self.active:
            return C if self.seen else B
        if self.latched:
            return F if self.seen else E
        return A if self.seen else D


@given(st.lists(st.sampled_from(list(Event)), max_size=60), st.booleans())
def test_random_histories_go_as_a_model_of_what_holds_says(events: list[Event], latching: bool) -> None:
    state, reference = State.NORMAL, Reference(latching)
    for event in events:
        after = lifecycle.after(state, event)
        could = reference.take(event)
        assert (after is not None) == could, (state, event)
        state = after or state
        assert state == reference.state, event
