"""The worker beside the instruments: `python -m devices.edge`, or `celery -A devices.edge worker`."""

from devices.edge.app import app as celery

__all__ = ["celery"]
