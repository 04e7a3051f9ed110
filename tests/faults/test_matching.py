"""The judge of the soak: what is stored and what was answered are matched one to one, or one is told of."""

from hypothesis import given, strategies as st

from tests.faults.judge import STAMP_TOLERANCE_US
from tests.faults.soak import Answer, placed

S = 1_000_000
LATE = st.integers(0, STAMP_TOLERANCE_US)


@given(st.lists(LATE, min_size=1, max_size=20), st.randoms())
def test_each_that_came_late_has_an_answer_to_itself_and_one_more_has_none(
    late: list[int], chance: object
) -> None:
    answers = [Answer(number * S, 50.0, frozenset(), False) for number in range(len(late))]
    stamps = [number * S + each for number, each in enumerate(late)]
    chance.shuffle(stamps)  # type: ignore[attr-defined]
    assert all(placed(answers, 50.0, at, own_time=False) for at in stamps)
    assert sorted(answer.stored_at or 0 for answer in answers) == sorted(stamps)
    assert all(abs((answer.stored_at or 0) - answer.sent_at) <= STAMP_TOLERANCE_US for answer in answers)
    assert not placed(answers, 50.0, stamps[0], own_time=False)


def test_another_value_or_another_time_is_no_answer() -> None:
    answers = [Answer(0, 50.0, frozenset((7,)), False)]
    assert not placed(answers, 50.1, 0, own_time=False)
    assert not placed(answers, 50.0, STAMP_TOLERANCE_US + 1, own_time=False)
    assert not placed(answers, 50.0, 9, own_time=True)
    assert placed(answers, 50.0, 8, own_time=True)
    assert not placed(answers, 50.0, 8, own_time=True)
