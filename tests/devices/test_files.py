"""Files that are there whole or as they were, and files that one process holds."""

import subprocess
import sys
from pathlib import Path

import pytest

from devices import files

HOLDER = """
import sys
from pathlib import Path
from devices import files
held = files.hold(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_file_is_replaced_as_a_whole_and_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    files.replace(path, b"one")
    files.replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "book.json"
    files.replace(path, b"one")
    path.with_suffix(".new").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(path, b"two")
    assert path.read_bytes() == b"one"


def test_who_holds_a_file_holds_it_until_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(files.Held, match="another process holds") as refused:
            files.hold(path)
        assert refused.value.path == path
        other.kill()
    with files.hold(path), pytest.raises(files.Held):
        files.hold(path)
    files.hold(path).close()
