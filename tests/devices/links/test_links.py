"""Addresses, and which link opens them."""

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
