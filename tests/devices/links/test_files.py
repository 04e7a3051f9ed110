"""Files of a folder, as a program beside the edge leaves them."""

import os
import threading
from pathlib import Path

import pytest

from devices import links
from devices.errors import ConfigurationError, LinkError, ReplyError
from devices.links.files import FILE_BYTES_MAX, FilesLink


async def opened(folder: Path) -> FilesLink:
    link = await links.connect(links.check(folder.as_uri()), 5.0)
    assert isinstance(link, FilesLink)
    return link


async def test_a_file_is_read_again_only_when_it_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "Füße & 100 %"
    folder.mkdir()
    link = await opened(folder)
    file = folder / "state.json"
    file.write_bytes(b"one")
    os.utime(file, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    first = await link.read("state.json")
    assert first is not None
    assert (first.text, first.stamp.changed) == (b"one", 1_700_000_000_123_456)
    assert await link.read("state.json", first.stamp) is None
    file.write_bytes(b"two")
    second = await link.read("state.json", first.stamp)
    assert second is not None
    assert second.text == b"two"
    await link.close()


async def test_a_file_put_in_anothers_place_is_another_one(tmp_path: Path) -> None:
    link = await opened(tmp_path)
    for name in ("state.json", "new.json"):
        (tmp_path / name).write_bytes(b"one")
        os.utime(tmp_path / name, (1_700_000_000, 1_700_000_000))
    first = await link.read("state.json")
    assert first is not None
    (tmp_path / "new.json").replace(tmp_path / "state.json")
    assert await link.read("state.json", first.stamp) is not None
    await link.close()


async def test_a_folder_that_is_not_there_is_a_link_error(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no such file or directory"):
        await opened(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(LinkError, match="not a directory"):
        await opened(tmp_path / "file")
    folder = tmp_path / "folder"
    folder.mkdir()
    link = await opened(folder)
    folder.rmdir()
    with pytest.raises(LinkError, match="no such file or directory"):
        await link.read("state.json")
    await link.close()


async def test_a_folder_that_does_not_open_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(LinkError):
        await opened(tmp_path / "missing")
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


async def test_a_file_that_cannot_be_read_is_a_reply_error(tmp_path: Path) -> None:
    link = await opened(tmp_path)
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    for name, words in [
        ("missing.json", "no such file"),
        ("folder.json", "is a directory"),
        ("pipe.json", "is no file"),
        ("long.json", f"more than {FILE_BYTES_MAX} bytes"),
    ]:
        with pytest.raises(ReplyError, match=words):
            await link.read(name)
    await link.close()


async def test_the_thread_ends_with_the_link(tmp_path: Path) -> None:
    link = await opened(tmp_path)
    threads = [thread for thread in threading.enumerate() if thread.name == f"files {tmp_path}"]
    assert len(threads) == 1
    await link.close()
    await link.close()
    threads[0].join(5)
    assert not threads[0].is_alive()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file://host/folder", "write a folder"),
        ("file://folder", "write a folder"),
        ("file://", "write a folder"),
        ("file:///folder?x=1", "nothing belongs"),
        ("file:///folder#x", "nothing belongs"),
        ("file:///fol%00der", "write a folder"),
    ],
)
def test_an_address_that_cannot_work_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        links.check(url)
