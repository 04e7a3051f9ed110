"""Run one edge: the Celery worker with the options it needs, its settings from the environment."""

import logging.config
import os
import sys
import warnings
from socket import gethostname

# kombu imports parts of Django wherever that is installed, for the sake of one type that it could encode.
sys.modules.setdefault("django", None)  # type: ignore[arg-type]

from celery.exceptions import SecurityWarning  # noqa: E402
from celery.utils.nodenames import nodename  # noqa: E402

from devices import logs  # noqa: E402
from devices.edge.app import app, prepare  # noqa: E402


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code."""
    level = os.environ.get("LABSITE_LOG_LEVEL", "").strip().upper() or "INFO"
    form = os.environ.get("LABSITE_LOG_FORMAT", "").strip().lower() or "text"
    for name, value, known in (
        ("LABSITE_LOG_LEVEL", level, logs.LEVELS),
        ("LABSITE_LOG_FORMAT", form, logs.FORMS),
    ):
        if value not in known:
            sys.stderr.write(f"labsite edge: {name} is {value!r}; write one of {', '.join(known)}\n")
            return 2
    logging.config.dictConfig(logs.configuration(level, form))
    # As root in a container is how an edge is run, too; Celery takes messages in JSON only.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    runtime = prepare()
    worker = app.Worker(
        hostname=nodename(f"edge-{runtime.settings.name}", gethostname()),
        queues=[runtime.settings.queue],
        loglevel=level,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
