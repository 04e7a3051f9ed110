"""What belongs together."""

from hypothesis import given, strategies as st

from alerts.notices.groups import connected

things = st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=25)


def by_walking(of: list[list[int]]) -> set[frozenset[int]]:
    """The same by a walk from each to all that it can reach: slow and plain."""
    groups = set()
    for start in range(len(of)):
        reached, edge = {start}, [start]
        while edge:
            here = edge.pop()
            for other in range(len(of)):
                if other not in reached and set(of[here]) & set(of[other]):
                    reached.add(other)
                    edge.append(other)
        groups.add(frozenset(reached))
    return groups


@given(things)
def test_who_shares_something_is_in_one_group(of: list[list[int]]) -> None:
    groups = connected(of)
    assert {frozenset(group) for group in groups} == by_walking(of)
    assert sorted(number for group in groups for number in group) == list(range(len(of)))
    assert all(group == sorted(group) for group in groups)
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)


def test_ten_thousand_of_one_cause_are_one_group() -> None:
    assert len(connected([[("cause", 1), ("instrument", number)] for number in range(10_000)])) == 1
