"""Run one edge: the Celery worker with the options it needs, its settings from the environment."""

import logging
import os
import sys
import warnings
from socket import gethostname

# kombu imports parts of Django wherever that is installed, for the sake of one type that it could encode.
sys.modules.setdefault("django", None)  # type: ignore[arg-type]

from celery.exceptions import SecurityWarning  # noqa: E402
from celery.utils.nodenames import nodename  # noqa: E402

from devices.edge.app import app, prepare  # noqa: E402

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def main() -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code."""
    level = os.environ.get("LABSITE_LOG_LEVEL", "").strip().upper() or "INFO"
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        sys.stderr.write(
            f"labsite edge: LABSITE_LOG_LEVEL is {level!r}; write DEBUG, INFO, WARNING or ERROR\n"
        )
        return 2
    logging.basicConfig(level=level, format=FORMAT)
    for chatty in ("celery.worker.strategy", "celery.app.trace"):  # two lines a message
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
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
