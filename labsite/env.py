"""Settings from the environment: typed, with `_FILE` for secrets, and an error that names the variable."""

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path


class BadSetting(Exception):
    """An environment variable that cannot be used; the message is for the person who set it."""


def env_text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def env_bool(name: str, *, default: bool) -> bool:
    text = env_text(name).lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off"):
        return False
    if text:
        raise BadSetting(f"{name} is {text!r}; write 1 or 0")
    return default


def env_int(name: str, default: int, low: int, high: int) -> int:
    text = env_text(name)
    if not text:
        return default
    try:
        number = int(text)
    except ValueError:
        raise BadSetting(f"{name} is {text!r}; write a whole number from {low} to {high}") from None
    if not low <= number <= high:
        raise BadSetting(f"{name} is {number}; it must be from {low} to {high}")
    return number


def env_choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    text = env_text(name, default)
    if text not in choices:
        raise BadSetting(f"{name} is {text!r}; write one of {', '.join(choices)}")
    return text


def env_address(name: str, default: str) -> str:
    text = env_text(name, default)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise BadSetting(f"{name} is {text!r}; write an IP address of this machine") from None


def env_networks(name: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Networks such as 192.168.1.0/24, apart by blanks."""
    try:
        return tuple(ipaddress.ip_network(word) for word in env_text(name).split())
    except ValueError as error:
        raise BadSetting(f"{name}: {error}; write networks such as 192.168.1.0/24, apart by blanks") from None


def env_key(name: str, default: Callable[[], str]) -> bytes:
    """32 bytes, written as 64 hexadecimal digits."""
    try:
        key = bytes.fromhex(env_secret(name) or default())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise BadSetting(f"{name} must be 64 hexadecimal digits")
    return key


def env_secret(name: str) -> str:
    """The variable itself, or the content of the file that `<name>_FILE` names; "" if neither is set."""
    path = env_text(f"{name}_FILE")
    if not path:
        return os.environ.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise BadSetting(f"{name}_FILE: cannot read {path}: {error.strerror}") from None
