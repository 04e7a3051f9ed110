"""An edge says in one line what its environment lacks."""

from pathlib import Path

import pytest

from devices.edge.settings import SPOOL_BYTES, BadSetting, Settings

KEY = "ab" * 32


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    given = {
        "LABSITE_EDGE": "attic",
        "LABSITE_BROKER_URL": "redis://:secret@127.0.0.1:6379/0",
        "LABSITE_EDGE_KEY": f"3:{KEY}",
        "LABSITE_SPOOL": str(tmp_path / "deep" / "spool"),
    }
    return {**given, **changes}


def test_all_it_needs(tmp_path: Path) -> None:
    settings = Settings.read(environment(tmp_path))
    assert (settings.name, settings.queue, settings.key_version) == ("attic", "edge.attic", 3)
    assert settings.key == bytes.fromhex(KEY)
    assert settings.folder.is_dir()
    assert settings.spool_bytes == SPOOL_BYTES


def test_it_knows_only_its_own_key(tmp_path: Path) -> None:
    settings = Settings.read(environment(tmp_path))
    assert settings.key_of("attic", 3) == settings.key
    assert settings.key_of("attic", 2) is None
    assert settings.key_of("cellar", 3) is None


def test_the_key_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"1:{KEY}\n")
    given = environment(tmp_path, LABSITE_EDGE_KEY="", LABSITE_EDGE_KEY_FILE=str(file))
    assert Settings.read(given).key_version == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LABSITE_EDGE", ""),
        ("LABSITE_EDGE", "Attic 2"),
        ("LABSITE_BROKER_URL", ""),
        ("LABSITE_BROKER_URL", "localhost"),
        ("LABSITE_BROKER_URL", "redis://host:notaport/0"),
        ("LABSITE_EDGE_KEY", ""),
        ("LABSITE_EDGE_KEY", KEY),
        ("LABSITE_EDGE_KEY", f"1:{KEY}00"),
        ("LABSITE_EDGE_KEY_FILE", "/nowhere/key"),
        ("LABSITE_SPOOL", ""),
        ("LABSITE_SPOOL", "/proc/nowhere"),
        ("LABSITE_SPOOL_BYTES", "1 GB"),
        ("LABSITE_SPOOL_BYTES", "1000"),
        ("LABSITE_COMMIT_S", "often"),
        ("LABSITE_COMMIT_S", "0.01"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(BadSetting, match=variable) as told:
        Settings.read(environment(tmp_path, **{variable: value}))
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)
