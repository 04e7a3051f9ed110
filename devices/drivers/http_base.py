"""What drivers of instruments with an HTTP interface have in common: who they say they are, and TLS."""

from collections.abc import Mapping
from typing import Any

from devices.drivers import json_values
from devices.drivers.base import Driver, Option, Secret
from devices.errors import ConfigurationError, ReplyError
from devices.links import pins
from devices.links.http import Answer, HttpLink

HTTP_OPTIONS: tuple[Option, ...] = (
    Option("token", Secret, "", "A bearer token to be shown with each request"),
    Option("user", str, "", "A user name for HTTP's basic authentication"),
    Option("password", Secret, "", "The password that belongs to the user name"),
    Option("pin", str, "", "https only: SHA-256 of the one certificate to be accepted, in hexadecimal"),
    Option("verify", bool, True, "https only: the certificate must be signed by a known authority"),
)


class HttpDriver(Driver):
    """Asks over HTTP, with a token or a password where the instrument wants one."""

    schemes = ("http", "https")
    options = HTTP_OPTIONS
    link: HttpLink

    @classmethod
    def checked_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        checked = super().checked_options(options)
        if checked["token"] and (checked["user"] or checked["password"]):
            raise ConfigurationError("option token: give either a token or a user and a password")
        if ":" in checked["user"]:
            raise ConfigurationError("option user: a name with a colon cannot be told from its password")
        pins.check(checked["pin"])
        return checked

    @classmethod
    def link_settings(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"pin": options["pin"], "verify": options["verify"]}

    async def open(self) -> None:
        self.link.authorise(
            token=self.secrets.get("token", ""),
            user=self.settings["user"],
            password=self.secrets.get("password", ""),
        )

    async def ask(self, path: str = "", *, within: float | None = None) -> tuple[Any, Answer]:
        """What GET of a path brings, as JSON, and the answer it stood in. Raises LinkError and ReplyError."""
        answer = await self.link.get(path, within=within)
        if answer.status != 200:
            raise Unwilling(f"{self.link.address.url}{path}: {_in_words(answer)}", answer.status)
        return json_values.decoded(answer.body), answer


class Unwilling(ReplyError):
    """The server answered, but not with what was asked for."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def _in_words(answer: Answer) -> str:
    if answer.status in (401, 403):
        return f"answered {answer.status}: it wants a token or a password, or another one (options)"
    if where := answer.headers.get("location", ""):
        return f"answered {answer.status}, a redirect to {where[:200]!r}: give that address if it is right"
    return f"answered {answer.status} {answer.text!r}"
