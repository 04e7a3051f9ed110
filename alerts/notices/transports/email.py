"""E-mail by SMTP. The Message-ID is the notice's, so that a mail sent twice is seen to be one."""

import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings

from alerts.models import Contact, Priority
from alerts.notices.transports.base import TransportError
from alerts.notices.words import Message, clean
from devices.errors import ConfigurationError

PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
PATIENCE = 5.0  # seconds, for each answer of the server
PERMANENT = 500  # and above: a reply code that will stay so (RFC 5321, 4.2.1)
FORM = "smtps://user:password@host:465 or smtp+starttls://user:password@host:587"


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed in. `ca`: a file of certificates to trust instead of the system's."""

    scheme: str
    host: str
    port: int
    user: str
    password: str
    ca: str

    @classmethod
    def of(cls, url: str) -> "Server":
        """Raises ConfigurationError, without the password."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigurationError(f"LABSITE_SMTP_URL must be like {FORM}") from None
        if parts.scheme not in PORTS or not parts.hostname:
            raise ConfigurationError(f"LABSITE_SMTP_URL must be like {FORM}")
        ca = parse_qs(parts.query).get("ca", [""])[0]
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.scheme, parts.hostname, port or PORTS[parts.scheme], user, password, ca)

    def connect(self) -> smtplib.SMTP:
        """A session after greeting, TLS and login."""
        if self.scheme == "smtps":
            session: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=PATIENCE, context=self._context()
            )
        else:
            session = smtplib.SMTP(self.host, self.port, timeout=PATIENCE)
        try:
            if self.scheme == "smtp+starttls":
                session.starttls(context=self._context())
            if self.user:
                session.login(self.user, self.password)
        except BaseException:
            session.close()
            raise
        return session

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca or None)


def check(contact: Contact) -> None:
    """Raises ConfigurationError."""
    if not settings.SMTP_URL:
        raise ConfigurationError(f"there is no mail server: set LABSITE_SMTP_URL, such as {FORM}")
    Server.of(settings.SMTP_URL)
    if "@" not in parseaddr(settings.MAIL_FROM)[1]:
        raise ConfigurationError("nobody to send mail as: set LABSITE_MAIL_FROM, such as labsite@example.org")
    if "@" not in contact.address:
        raise ConfigurationError("the contact has no e-mail address")


def send(contact: Contact, message: Message) -> str:
    """Hand a mail to the server; returns its Message-ID."""
    check(contact)
    server = Server.of(settings.SMTP_URL)
    mail = compose(contact, message)
    try:
        session = server.connect()
    except smtplib.SMTPResponseException as error:
        raise TransportError(_answer(server, error.smtp_code, error.smtp_error), away=True) from None
    except (OSError, smtplib.SMTPException) as error:
        raise TransportError(f"{server.host} cannot be reached: {_why(error)}", away=True) from None
    try:
        _hand_over(session, server, mail)
    finally:
        session.close()
    return str(mail["Message-ID"])


def compose(contact: Contact, message: Message) -> EmailMessage:
    """The mail: text, and the same as HTML; in one thread with what it follows."""
    mail = EmailMessage()
    domain = parseaddr(settings.MAIL_FROM)[1].rpartition("@")[2]
    mail["From"], mail["To"], mail["Subject"] = settings.MAIL_FROM, contact.address, message.title
    mail["Date"], mail["Message-ID"] = formatdate(), f"<{message.id}@{domain}>"
    mail["Auto-Submitted"], mail["X-Labsite-Notice"] = "auto-generated", message.id
    if message.follows:
        mail["In-Reply-To"] = mail["References"] = f"<{message.follows}@{domain}>"
    if message.priority is not None and message.priority <= Priority.HIGH:
        mail["Importance"], mail["X-Priority"] = "high", str(message.priority)
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    return mail


def _hand_over(session: smtplib.SMTP, server: Server, mail: EmailMessage) -> None:
    try:
        session.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()))
        raise TransportError(_answer(server, code, words), final=code >= PERMANENT) from None
    except smtplib.SMTPResponseException as error:
        is_final = isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= PERMANENT
        raise TransportError(_answer(server, error.smtp_code, error.smtp_error), final=is_final) from None
    except smtplib.SMTPNotSupportedError as error:
        raise TransportError(f"{server.host}: {_why(error)}", final=True) from None
    except (OSError, smtplib.SMTPException) as error:
        raise TransportError(f"{server.host} broke off: {_why(error)}", unsure=True, away=True) from None
    with suppress(OSError, smtplib.SMTPException):  # it has been taken
        session.quit()


def _answer(server: Server, code: int, words: bytes | str) -> str:
    text = words.decode(errors="replace") if isinstance(words, bytes) else words
    return f"{server.host} answered {code} {clean(text)[:200]}"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} s"
    return clean(str(error))[:200] or type(error).__name__
