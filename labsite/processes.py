"""`python -m labsite.processes beat`, `ingest` or `central`: Celery's processes of the centre.

The same as `celery -A labsite …`, without the 10 MB that its command line for people takes in each process;
and the threads that look after alarms and feed sinks beside the tasks of the central worker.
"""

import sys
import warnings
from socket import gethostname

import django
from celery.exceptions import SecurityWarning
from celery.signals import import_modules
from celery.utils.nodenames import nodename
from django.conf import settings
from django.utils.module_loading import import_string

from labsite.celery import app

THREADS = 2


def beat() -> None:
    """Runs until SIGTERM or SIGINT. It names tasks and need not carry them, which saves 20 MB."""
    django.setup()
    import_modules.receivers.clear()
    app.Beat(loglevel=settings.LOG_LEVEL, quiet=True).run()


def central() -> int:
    """The central worker, who looks after the alarms, and who feeds the sinks."""
    django.setup()
    # By name: the other processes need not carry them.
    beside = [import_string(name)() for name in ("alerts.watch.Watch", "telemetry.sinks.feeder.Feeder")]
    for thread in beside:
        thread.start()
    try:
        return worker("central")
    finally:
        for thread in beside:
            thread.stop()


def worker(queue: str) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code."""
    started = app.Worker(
        hostname=nodename(queue, gethostname()),
        queues=[queue],
        pool="threads",
        concurrency=THREADS,
        loglevel=settings.LOG_LEVEL,
        quiet=True,
    )
    started.start()
    return int(started.exitcode or 0)


def main() -> int:
    # As root in a container is how Labsite is run, too; Celery takes messages in JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    name = sys.argv[1]
    if name == "beat":
        beat()
        return 0
    return central() if name == "central" else worker(name)


if __name__ == "__main__":
    sys.exit(main())
