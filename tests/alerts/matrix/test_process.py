"""The bot as a process: what it says when it cannot run, and that `make run` runs it where it is set up."""

import subprocess
import sys
from pathlib import Path

import pytest

from alerts.matrix.session import Session
from alerts.matrix.settings import Account, NotConfigured, account
from devices import files
from labsite.onebox import programs
from tests.onebox import ROOT, OneBox, environment
from tests.synapse import Synapse
from tests.waiting import until


def test_without_an_account_it_says_what_is_missing(tmp_path: Path) -> None:
    given = environment(LABSITE_DATA=str(tmp_path), LABSITE_MATRIX_HOMESERVER="https://matrix.example.org")
    command = [sys.executable, "manage.py", "matrixbot"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env=given, cwd=ROOT)
    assert ended.returncode == 1
    assert "LABSITE_MATRIX_USER, LABSITE_MATRIX_PASSWORD not set; see docs/matrix.md" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_homeserver_is_named_by_its_url(settings: pytest.FixtureRequest) -> None:
    for name in ("MATRIX_HOMESERVER", "MATRIX_USER", "MATRIX_PASSWORD"):
        setattr(settings, name, "matrix.example.org")
    with pytest.raises(NotConfigured, match="must be the homeserver's URL"):
        account()


def an_account(folder: Path) -> Account:
    return Account(
        "http://127.0.0.1:1", "labsite", "secret", "labsite", allow_verification=False, folder=folder
    )


def test_one_folder_is_one_bots(tmp_path: Path) -> None:
    first = Session(an_account(tmp_path / "matrix"))
    with pytest.raises(files.Held):
        Session(an_account(tmp_path / "matrix"))
    first.close()
    Session(an_account(tmp_path / "matrix")).close()


def test_its_folder_is_its_owners_alone_and_its_password_is_nowhere(tmp_path: Path) -> None:
    session = Session(an_account(tmp_path / "matrix"))
    session.keep("s1")
    session.close()
    assert (tmp_path / "matrix").stat().st_mode & 0o077 == 0
    assert (tmp_path / "matrix" / "session.json").stat().st_mode & 0o077 == 0
    assert "secret" not in (tmp_path / "matrix" / "session.json").read_text()
    assert "secret" not in repr(an_account(tmp_path))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"homeserver": "https://other", "token": "x"}'])
def test_a_session_that_is_torn_or_anothers_is_begun_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "session.json").write_text(content)
    session = Session(an_account(tmp_path))
    assert session.kept == {}
    session.close()


def test_it_is_one_of_the_centres_programs_only_where_it_is_wanted() -> None:
    without = [program.name for program in programs.centre("127.0.0.1", 8000)]
    with_it = [program.name for program in programs.centre("127.0.0.1", 8000, matrix=True)]
    assert [*without, "matrixbot"] == with_it


def test_make_run_runs_it(synapse: Synapse, tmp_path: Path) -> None:
    synapse.make_user("onebox")
    given = {
        "LABSITE_DEMO": "0",
        "LABSITE_MATRIX_HOMESERVER": synapse.url,
        "LABSITE_MATRIX_USER": "onebox",
        "LABSITE_MATRIX_PASSWORD": "onebox",
    }
    with OneBox(tmp_path / "data", **given).start() as labsite, labsite.browser() as browser:

        def said() -> dict[str, str]:
            processes = browser.get("/api/v1/status/").json()["processes"]
            return next((each["said"] for each in processes if each["process"] == "matrix"), {})

        until(lambda: said().get("state") == "connected", 20, "it is connected", every=0.2)
        assert said()["user"] == "@onebox:lab.test"
        assert "matrixbot" in labsite.command_line("status").stdout
        assert labsite.stop() == 0
