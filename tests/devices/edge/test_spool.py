"""The spool: what is saved is there again, whatever happened to the file, and what is not leaves a gap."""

import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings as examples, strategies as st

from devices import wire
from devices.edge import spool as module
from devices.edge.settings import BadSetting
from devices.edge.spool import END, DiskTrouble, Numbered, Row, Spool
from devices.wire import Batch, Gap

T = 1_700_000_000_000_000
MB = 1 << 20


def row(number: int, size: int = 100) -> Row:
    batch = Batch([f"{number}"], [["k"]], [0, 0, T + number], [float(number)], None, {"0": "x" * size})
    return Row(wire.pack(batch), T + number, T + number, "boot", T, sure=True)


def noisy(number: int, size: int) -> Row:
    """A row that cannot be packed small."""
    return Row(number.to_bytes(4) * (size // 4), T + number, T + number, "boot", T, sure=True)


def opened(folder: Path, bytes_max: int = 64 * MB) -> Spool:
    return Spool(folder, bytes_max, T)


def save(spool: Spool, *rows: Row, acked: list[int] | None = None) -> list[int]:
    return spool.save(rows, covered=T, covered_mono=1, acked=acked or [])


def pending(spool: Spool, after: int = 0, bytes_max: int = 64 * MB) -> list[Numbered]:
    return spool.pending(after, END, bytes_max)


def sequences(spool: Spool) -> list[int]:
    return [numbered.sequence for numbered in pending(spool)]


def test_what_was_saved_is_there_after_a_restart(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    rows = [row(number) for number in range(5)]
    assert save(spool, *rows) == [1, 2, 3, 4, 5]
    name = spool.state.spool
    spool.close(clean=False)
    again = opened(tmp_path)
    assert again.state.spool == name
    assert [numbered.row for numbered in pending(again)] == rows
    assert save(again, row(5)) == [6]
    again.close()


def test_one_process_has_it(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(BadSetting, match="another process"):
        opened(tmp_path)
    spool.close()
    opened(tmp_path).close()


def test_it_tells_how_the_process_before_ended(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    assert spool.begin("first", "boot").covered == 0
    spool.save([row(1)], covered=T + 7, covered_mono=7)
    spool.close(clean=False)
    spool = opened(tmp_path)
    left = spool.begin("second", "boot")
    assert (left.instance, left.covered, left.covered_mono, left.clean) == ("first", T + 7, 7, False)
    spool.close(clean=False)  # killed before it saved anything: nothing newer is known
    spool = opened(tmp_path)
    assert (spool.begin("third", "boot").covered, spool.state.clean) == (T + 7, False)
    spool.save([row(2)], covered=T + 9, covered_mono=9)
    spool.close()
    spool = opened(tmp_path)
    assert spool.begin("fourth", "boot").clean
    spool.close()


def test_acked_rows_stay_but_are_not_sent(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    save(spool, *(row(number) for number in range(6)))
    save(spool, acked=[1, 2, 5])
    assert sequences(spool) == [3, 4, 6]
    assert spool.state.acked_through == 2
    assert spool.oldest() == T + 2
    save(spool, acked=[3, 4])
    assert (spool.state.acked_through, sequences(spool)) == (5, [6])
    spool.told(5)
    spool.close()
    spool = opened(tmp_path)
    assert not spool.told(5)
    assert spool.told(2), "the centre was restored"
    assert sequences(spool) == [3, 4, 5, 6]
    assert not spool.told(2)
    spool.close()


def test_a_new_name_keeps_what_waits(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    save(spool, row(1), row(2))
    save(spool, acked=[1])
    before = spool.state.spool
    spool.renew()
    assert spool.state.spool != before
    assert sequences(spool) == [2]
    spool.close()


def test_a_parcel_is_bounded_but_never_empty(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    save(spool, *(noisy(number, 3000) for number in range(1, 6)))
    assert len(pending(spool, bytes_max=8500)) == 2
    assert len(pending(spool, bytes_max=10)) == 1
    assert [n.sequence for n in spool.pending(1, 4, MB, frozenset({2}))] == [3]
    spool.close()


def test_when_it_is_full_acked_rows_go_first_then_the_oldest_with_a_gap(tmp_path: Path) -> None:
    spool = opened(tmp_path, MB)
    for number in range(1, 15):
        save(spool, noisy(number, 50_000))
    save(spool, acked=[1, 2, 3, 4, 5])
    for number in range(15, 20):
        save(spool, noisy(number, 50_000))
    assert spool.take_gaps() == []
    assert sequences(spool) == list(range(6, 20))
    for number in range(20, 60):
        save(spool, noisy(number, 50_000))
    assert spool.size() <= MB
    left = sequences(spool)
    assert left[-1] == 59
    gaps = spool.take_gaps()
    assert {gap.reason for gap in gaps} == {"overflow"}
    assert (gaps[0].start, gaps[-1].end) == (T + 6, T + left[0] - 1)
    assert spool.state.acked_through == left[0] - 1
    spool.close()


def test_a_full_disk_is_trouble_and_loses_nothing(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    save(spool, row(1))
    pages = spool._database.execute("PRAGMA page_count").fetchone()[0]
    spool._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskTrouble):
        save(spool, noisy(2, 100_000))
    assert sequences(spool) == [1]
    spool._database.execute("PRAGMA max_page_count = 1000000")
    assert save(spool, noisy(2, 100_000)) == [2]
    assert spool.take_gaps() == []
    spool.close()


@contextmanager
def disk_that_takes_nothing() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_at_the_start_is_tried_again(tmp_path: Path) -> None:
    before = opened(tmp_path)
    save(before, row(1))
    before.close(clean=False)
    with disk_that_takes_nothing():
        spool = Spool(tmp_path, 64 * MB, T + 9)
        for use in (lambda: spool.begin("me", "boot"), lambda: save(spool, row(2)), lambda: pending(spool)):
            with pytest.raises(DiskTrouble):
                use()
        assert (spool.size(), spool.waiting()) == (0, 0)
    assert save(spool, row(2)) == [2]
    assert spool.state.spool == before.state.spool
    assert (spool.state.instance, sequences(spool)) == ("me", [1, 2])
    assert spool.take_gaps() == [Gap("", "", T, T + 9, "not running")]
    spool.close()


def test_a_process_that_never_had_the_disk_ends_quietly(tmp_path: Path) -> None:
    with disk_that_takes_nothing():
        opened(tmp_path).close()
    spool = opened(tmp_path)
    assert sequences(spool) == []
    spool.close()


def test_on_a_full_disk_delivered_rows_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path)
    save(spool, *(noisy(number, 10_000) for number in range(1, 20)))
    save(spool, acked=[1, 2, 3, 4])
    monkeypatch.setattr(module, "FREE_MIN", 1 << 60)
    before = spool.size()
    save(spool, noisy(20, 10_000))
    assert spool.size() <= before
    assert sequences(spool) == list(range(5, 21)), "what the centre does not have stays"
    spool.close()


def test_a_broken_row_leaves_a_gap_and_the_others_go_on(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    save(spool, row(1), row(2), row(3))
    with spool._database as database:
        database.execute("UPDATE batch SET packed = x'00' WHERE sequence = 2")
    assert sequences(spool) == [1, 3]
    assert [(gap.start, gap.end, gap.reason) for gap in spool.take_gaps()] == [(T + 2, T + 2, "torn")]
    save(spool, acked=[1, 3])
    assert spool.state.acked_through == 3
    spool.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool of 40 rows, the last ten only in its write-ahead log, as kill -9 leaves it."""
    folder = tmp_path_factory.mktemp("written")
    spool = opened(folder)
    save(spool, *(row(number, size=5 * number) for number in range(30)))
    spool._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(30, 40):
        save(spool, row(number, size=300 * number))
    copy = folder / "copy"
    copy.mkdir()
    for name in ("spool.sqlite", "spool.sqlite-wal", "spool.lock"):
        shutil.copy(folder / name, copy / name)
    spool.close()
    return copy


@pytest.mark.parametrize("name", ["spool.sqlite", "spool.sqlite-wal"])
@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1), bits=st.integers(1, 255), cut=st.booleans())
def test_it_starts_whatever_became_of_the_file(
    written: Path, tmp_path_factory: pytest.TempPathFactory, name: str, where: float, bits: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("torn") / "spool"
    shutil.copytree(written, folder)
    file = folder / name
    content = bytearray(file.read_bytes())
    at = min(int(where * len(content)), len(content) - 1)
    if cut:
        del content[at:]
    else:
        content[at] ^= bits
    file.write_bytes(content)

    spool = opened(folder)
    found = [numbered.row for numbered in pending(spool)]
    assert set(found) <= {row(number, size=5 * number) for number in range(30)} | {
        row(number, size=300 * number) for number in range(30, 40)
    }, "nothing that was not saved"
    assert len(set(found)) == len(found)
    if not cut and name == "spool.sqlite" and at >= 3 * 4096:
        # One byte in one page of rows: the others are whole, and what is lost is told.
        assert len(found) >= 25 or spool.take_gaps()
    save(spool, row(99))
    assert row(99) in [numbered.row for numbered in pending(spool)]
    spool.close()
    spool = opened(folder)
    assert row(99) in [numbered.row for numbered in pending(spool)]
    spool.close()
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "content", [b"", b"no database at all" * 300, b"SQLite format 3\x00" + b"\xff" * 9000]
)
def test_a_file_that_is_none_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "spool.sqlite").write_bytes(content)
    spool = opened(tmp_path)
    assert save(spool, row(1)) == [1]
    if content:
        assert [gap.reason for gap in spool.take_gaps()] == ["torn"]
        assert (tmp_path / "torn.sqlite").read_bytes() == content
    spool.close()


def test_a_torn_file_keeps_its_whole_rows_and_gets_another_name(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    save(spool, *(row(number) for number in range(1, 51)))
    save(spool, acked=[1, 2, 3])
    spool.note_delivered(T + 3)
    name = spool.state.spool
    spool.close()
    with sqlite3.connect(tmp_path / "spool.sqlite") as database:
        database.execute("UPDATE state SET body = x'7b7d'")
    database.close()
    spool = opened(tmp_path)
    assert spool.state.spool != name
    assert [numbered.row for numbered in pending(spool)] == [row(number) for number in range(4, 51)]
    assert [(gap.start, gap.reason) for gap in spool.take_gaps()] == [(T + 3, "torn")]
    spool.close()


def test_a_file_that_breaks_while_it_is_used_is_set_aside_too(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    save(spool, *(row(number) for number in range(1, 200)))
    spool._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file = tmp_path / "spool.sqlite"
    with file.open("r+b") as opened_file:
        opened_file.seek(2 * 4096)
        opened_file.write(b"\xff" * 4096 * 3)
    spool._database.execute("PRAGMA shrink_memory")
    found = pending(spool)
    spool.take_gaps()
    assert found or save(spool, row(1))
    assert save(spool, row(1000))
    assert row(1000) in [numbered.row for numbered in pending(spool)]
    spool.close()
