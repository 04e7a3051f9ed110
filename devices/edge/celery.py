"""Where `celery -A devices.edge` looks for the app."""

from devices.edge.app import app

__all__ = ["app"]
