"""Addresses, and which link opens them."""

import subprocess
import sys

import pytest

from devices import links
from devices.errors import ConfigurationError
from devices.links.base import Address
from devices.links.local import LocalLink


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("tcp://192.168.1.26:23", "192.168.1.26", 23),
        ("tcp://[::1]:23", "::1", 23),
        ("tcp://thermostat.lab:4000", "thermostat.lab", 4000),
    ],
)
def test_an_address_is_taken_apart(url: str, host: str, port: int) -> None:
    address = links.check(url)
    assert (address.url, address.host, address.port) == (url, host, port)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("192.168.1.26:23", "is no URL"),
        ("tcp://192.168.1.26", "needs a host and a port"),
        ("tcp://:23", "needs a host and a port"),
        ("tcp://host:0", "needs a host and a port"),
        ("tcp://host:70000", "out of range"),
        ("tcp://host:23/report", "nothing belongs behind the port"),
        ("tcp://host:23?rate=1", "nothing belongs behind the port"),
        ("tcp://user:secret@host:23", "no user or password"),
        ("gopher://host:23", "no link for gopher://"),
        ("edge://elsewhere", "edge://local"),
        ("", "is no URL"),
    ],
)
def test_an_address_that_cannot_work_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        links.check(url)


async def test_the_edge_itself_needs_no_connection() -> None:
    link = await links.connect(links.check("edge://local"), 1.0)
    assert isinstance(link, LocalLink)
    await link.close()
    await link.close()


async def test_an_address_is_checked_again_when_it_is_opened() -> None:
    with pytest.raises(ConfigurationError):
        await links.connect(Address.parse("tcp://host"), 1.0)


@pytest.mark.parametrize("scheme", links.LINKS)
def test_each_scheme_has_a_link_that_knows_it(scheme: str) -> None:
    assert scheme in links.load(Address.parse(f"{scheme}://somewhere")).schemes


def test_a_link_is_imported_when_such_an_address_is_first_met() -> None:
    """An edge carries only the libraries it uses."""
    program = (
        "import sys; from devices import links; assert not {'serial', 'ssl'} & sys.modules.keys()\n"
        "links.check('serial:///dev/ttyUSB0'); assert 'serial' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(links.LINKS, "gpib", "no_such_library:GpibLink")
    with pytest.raises(ConfigurationError, match=r"what opens gpib:// is not installed: .*no_such_library"):
        links.check("gpib://7")
