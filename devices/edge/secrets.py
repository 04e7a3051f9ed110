"""Instruments' passwords: named in an order, found in this edge's environment, for the hosts it allows."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devices.errors import ConfigurationError
from devices.links.base import Address

LOCAL = "local"  # stands for an address without a host: a serial port, a bus


def of(
    options: Mapping[str, Any], address: Address, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The secrets that an instrument's options name, by option. Raises ConfigurationError, without the word.

    A secret is given only to the hosts that `LABSITE_SECRET_<NAME>_HOSTS` lists, so that an order for another
    address cannot carry it away.
    """
    return {
        option: _word(value["secret"], address, environment)
        for option, value in options.items()
        if isinstance(value, dict) and "secret" in value
    }


def _word(name: str, address: Address, environment: Mapping[str, str]) -> str:
    variable = f"LABSITE_SECRET_{name}"
    host = address.host or LOCAL
    allowed = environment.get(f"{variable}_HOSTS", "").replace(",", " ").lower().split()
    if host.lower() not in allowed:
        raise ConfigurationError(
            f"this edge does not give secret {name} to {host}: add the host to {variable}_HOSTS, restart it"
        )
    if path := environment.get(f"{variable}_FILE", ""):
        try:
            word = Path(path).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigurationError(f"{variable}_FILE: cannot read {path}: {reason}") from None
        if word := word.removesuffix("\n").removesuffix("\r"):  # as editors end a file
            return word
        raise ConfigurationError(f"{variable}_FILE: {path} is empty")
    if word := environment.get(variable, ""):
        return word
    raise ConfigurationError(
        f"this edge has no secret {name}: set {variable} or {variable}_FILE and restart it"
    )
