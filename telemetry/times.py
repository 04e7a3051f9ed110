"""Times as the database takes them, from µs of UTC since 1970, which messages and columns carry."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MAX = 253_402_300_800_000_000 - 86_400_000_000  # the end of the year 9999, which Python's times end at


def moment(microseconds: int) -> datetime:
    """µs of UTC since 1970 as a time, exactly."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def microseconds(moment: datetime) -> int:
    """A time as µs of UTC since 1970, exactly."""
    return (moment - EPOCH) // timedelta(microseconds=1)
