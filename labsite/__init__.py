"""Labsite: polls, watches and controls the instruments of a laboratory."""

__version__ = "0.1.0"
