"""TLS to instruments, which sign their own certificates and may be old, against real servers."""

import asyncio
import gc
import ssl
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices import links
from devices.errors import LinkError
from devices.links import tcp
from devices.links.tcp import TlsLink

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@cache
def certificate(name: str) -> tuple[bytes, str]:
    """Self-signed for 127.0.0.1, as PEM with its key, and its SHA-256."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem) + written, made.fingerprint(hashes.SHA256()).hex()


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """A machine's."""
    file = tmp_path / "machine.pem"
    file.write_bytes(certificate("machine")[0])
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(file)
    return made


@pytest.fixture
def old_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """A machine's that knows TLS 1.0 only."""
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


@asynccontextmanager
async def machine(context: ssl.SSLContext | None, greeting: bytes = b"") -> AsyncIterator[str]:
    """Greets at once, echoes lines; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(greeting)
            while line := await reader.readline():
                writer.write(line)
        except (OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def connected(url: str, deadline: float = 5.0, **settings: Any) -> TlsLink:
    link = await links.connect(links.check(url), deadline, settings)
    assert isinstance(link, TlsLink)
    return link


@pytest.mark.parametrize(
    "write",
    [str, str.upper, lambda pin: ":".join(pin[at : at + 2] for at in range(0, 64, 2)).upper()],
    ids=["plain", "capitals", "as openssl writes it"],
)
async def test_the_pinned_certificate_is_taken(context: ssl.SSLContext, write: Callable[[str], str]) -> None:
    async with machine(context) as url:
        link = await connected(url, pin=write(certificate("machine")[1]))
        assert await link.ask(b"first\n") == b"first"
        await link.close()


async def test_another_than_the_pinned_certificate_is_not_taken(context: ssl.SSLContext) -> None:
    other, found = certificate("other")[1], certificate("machine")[1]
    async with machine(context) as url:
        with pytest.raises(LinkError, match=f"its certificate is {found}, pinned is {other}"):
            await connected(url, pin=other)


async def test_what_nobody_signed_is_not_taken_but_named(context: ssl.SSLContext) -> None:
    found = certificate("machine")[1]
    async with machine(context) as url:
        with pytest.raises(
            LinkError, match=rf"cannot be verified \(self-signed certificate\).*pin to {found}"
        ):
            await connected(url)


async def test_what_nobody_signed_is_taken_if_that_is_asked_for(context: ssl.SSLContext) -> None:
    async with machine(context) as url:
        link = await connected(url, verify=False)
        assert await link.ask(b"first\n") == b"first"
        await link.close()


async def test_a_pin_takes_the_place_of_verification_not_its_absence(context: ssl.SSLContext) -> None:
    async with machine(context) as url:
        with pytest.raises(LinkError, match="pinned is"):
            await connected(url, pin=certificate("other")[1], verify=False)


async def test_a_signed_certificate_is_taken(
    context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(certificate("machine")[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    tcp._context.cache_clear()
    async with machine(context) as url:
        link = await connected(url)
        assert await link.ask(b"first\n") == b"first"
        await link.close()
    tcp._context.cache_clear()


async def test_old_protocols_are_refused_and_the_option_is_named(old_context: ssl.SSLContext) -> None:
    async with machine(old_context) as url:
        with pytest.raises(LinkError, match="option old_protocols"):
            await connected(url, pin=certificate("machine")[1])


async def test_old_protocols_are_taken_by_option_and_the_pin_still_counts(
    old_context: ssl.SSLContext,
) -> None:
    async with machine(old_context) as url:
        link = await connected(url, pin=certificate("machine")[1], old_protocols=True)
        spoken = link._connection.transport.get_extra_info("ssl_object").version()  # type: ignore[union-attr]
        assert spoken == "TLSv1"
        assert await link.ask(b"first\n") == b"first"
        await link.close()
        with pytest.raises(LinkError, match="pinned is"):
            await connected(url, pin=certificate("other")[1], old_protocols=True)


async def test_a_new_machine_is_spoken_to_in_its_best_protocol_whatever_the_option(
    context: ssl.SSLContext,
) -> None:
    async with machine(context) as url:
        link = await connected(url, verify=False, old_protocols=True)
        assert link._connection.transport.get_extra_info("ssl_object").version() == "TLSv1.3"  # type: ignore[union-attr]
        await link.close()


async def test_a_greeting_is_heard_however_early_it_comes(context: ssl.SSLContext) -> None:
    async with machine(context, b"READy -session=1\n") as url:
        link = await connected(url, verify=False)
        await asyncio.sleep(0.02)  # it comes before anybody listens
        heard = asyncio.get_running_loop().create_future()
        link.listen(heard.set_result, lambda error: None)
        assert await asyncio.wait_for(heard, 5) == b"READy -session=1\n"
        await link.close()


async def test_a_handshake_that_hangs_ends_at_the_deadline() -> None:
    before = time.monotonic()
    async with machine(None) as url:  # says nothing that is TLS until it has a line
        with pytest.raises(LinkError, match=r"no connection within 0\.2 s"):
            await connected(url, deadline=0.2, verify=False)
    assert time.monotonic() - before < 20
    gc.collect()  # a transport that was left open would say so


@pytest.mark.parametrize("answer", [b"READy -session=1\n", b"\x15\x03\x01\x00\x02\x02\x46", b"\xff" * 300])
async def test_what_is_no_tls_is_a_link_error(answer: bytes) -> None:
    async with machine(None, answer) as url:
        with pytest.raises(LinkError, match="TLS:"):
            await connected(url, verify=False)


async def test_a_machine_that_hangs_up_in_the_handshake_is_a_link_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with pytest.raises(LinkError):
            await connected(f"tls://127.0.0.1:{server.sockets[0].getsockname()[1]}", verify=False)
