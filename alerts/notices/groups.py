"""Which changes belong together: those that share a cause, an instrument or a rule. Arithmetic only."""

from collections.abc import Collection, Hashable, Sequence

Keys = Collection[Hashable]


def connected(things: Sequence[Keys]) -> list[list[int]]:
    """Numbers of the things by group: whoever shares a key is in one, also by way of others. In order."""
    leader = list(range(len(things)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    first: dict[Hashable, int] = {}
    for number, keys in enumerate(things):
        for key in keys:
            one, other = find(first.setdefault(key, number)), find(number)
            leader[max(one, other)] = min(one, other)
    found: dict[int, list[int]] = {}
    for number in range(len(things)):
        found.setdefault(find(number), []).append(number)
    return list(found.values())
