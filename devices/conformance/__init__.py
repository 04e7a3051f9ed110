"""What every driver keeps to, checked: by its declaration alone, and with an instrument, real or simulated.

python -m devices.conformance DRIVER --address URL [--option NAME=VALUE]
"""

from typing import NamedTuple


class Finding(NamedTuple):
    """One rule, and how it is broken; `fault` is "" where it is kept, `note` says what was seen."""

    rule: str
    fault: str = ""
    note: str = ""


def broken(findings: list[Finding]) -> list[str]:
    """A line for each rule that is not kept."""
    return [f"{finding.rule}: {finding.fault}" for finding in findings if finding.fault]
