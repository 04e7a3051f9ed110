"""The API of what was measured."""

from rest_framework.routers import BaseRouter


def register(router: BaseRouter) -> None:
    """Add this app's routes."""
