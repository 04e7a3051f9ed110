"""`python -m labsite.onebox run`, `stop`, `status`, `logs`: Labsite on one machine."""

import argparse
import os
import signal
import subprocess
import sys

from labsite.env import BadSetting

try:
    from labsite import settings
    from labsite.onebox import leftovers, lock, report
    from labsite.onebox.postgres import WrongVersion
    from labsite.onebox.redis import NoRedis
    from labsite.onebox.run import CannotStart, Labsite
except BadSetting as error:
    sys.exit(f"Labsite: {error}")

STOP_S = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m labsite.onebox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start everything and stay until Ctrl-C")
    commands.add_parser("stop", help="stop what `run` started")
    commands.add_parser("status", help="what runs")
    logs = commands.add_parser("logs", help="the last lines of all processes")
    logs.add_argument("names", nargs="*", metavar="PROCESS", help="only of these")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    logs.add_argument("-n", "--lines", type=int, default=20, help="so many of each process")
    options = parser.parse_args()
    if options.command == "logs":
        return report.logs(options.names, options.lines, follow=options.follow)
    return {"run": run, "stop": stop, "status": report.status}[options.command]()


def run() -> int:
    if not os.access(settings.DATA_DIR, os.W_OK | os.X_OK):
        raise CannotStart(f"LABSITE_DATA: cannot write into {settings.DATA_DIR}")
    Labsite().run()
    return 0


def stop() -> int:
    """Ask the running one to stop, and wait for it; end what a killed one left."""
    if found := lock.holder(settings.DATA_DIR):
        os.kill(found.pid, signal.SIGTERM)
        if not lock.released(settings.DATA_DIR, STOP_S):
            raise CannotStart(f"it does not stop (pid {found.pid})")
        print("Labsite has stopped.")
        return 0
    labsite = Labsite()
    ended = leftovers.end(labsite.folder, labsite.cluster, labsite.broker)
    print(
        f"Labsite was not running; {ended} processes of it were ended."
        if ended
        else "Labsite is not running."
    )
    return 0


def told() -> int:
    """The exit code; what cannot be is told in one line."""
    try:
        return main()
    except lock.Taken as error:
        print(error)
        return 1
    except BrokenPipeError:  # `… logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = error.filename or settings.DATA_DIR
        print(f"Labsite: cannot use {where}: {error.strerror or error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        last = (error.stderr or "").strip().rsplit("\n", 1)[-1]
        print(f"Labsite: {error.cmd[0]} failed: {last}", file=sys.stderr)
    except (BadSetting, CannotStart, NoRedis, WrongVersion) as error:
        print(f"Labsite: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(told())
