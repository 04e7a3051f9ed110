"""Fixtures of tests that go through more than one app."""

from tests.telemetry.conftest import committed

__all__ = ["committed"]
