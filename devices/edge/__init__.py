"""The worker beside the instruments: `python -m devices.edge`, or `celery -A devices.edge worker`."""
