"""How punctually an edge polls 20 thermostats at 10 Hz beside one that hangs on a link of its own."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.benchmarks import report
from tests.benchmarks.alone import Bench, edge_polling, simulated
from tests.faults.proxy import Proxy

COUNT = 20
INTERVAL = 0.1
SECONDS = 75.0  # lateness is told of the last minute, in a hello some seconds old
LATENESS_MAX_MS = 20.0
QUIET = ("physics=off",)


def measure(*, hangs: bool) -> dict[str, float]:
    """What the edge says of itself in the end.

    Its lateness is of all polls; of the hanging one there are a few, each punctual, among 12,000.
    """
    benches = [Bench("thermostat", COUNT, INTERVAL, QUIET)]
    with ExitStack() as stack:
        if hangs:
            (address,) = stack.enter_context(simulated(Bench("thermostat", settings=QUIET)))
            end = urlsplit(address)
            wire = stack.enter_context(Proxy(end.hostname or "", end.port or 0))
            benches.append(Bench("thermostat", interval=INTERVAL, addresses=[f"tcp://127.0.0.1:{wire.port}"]))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, centre = stack.enter_context(edge_polling(folder, *benches))
        if hangs:
            wire.silence("down")
        before, readings = dict(centre.status), centre.readings
        time.sleep(SECONDS)
        after, readings = dict(centre.status), centre.readings - readings
    counted = {
        name: float(after.get(name) or 0) - float(before.get(name) or 0) for name in ("overruns", "skipped")
    }
    told = {name: float(after.get(name) or 0) for name in ("lateness_p99", "lateness_p50", "connected")}
    return {**counted, **told, "readings_per_s": readings / SECONDS}


def main() -> None:
    bare, beside = measure(hangs=False), measure(hangs=True)
    report(
        f"hung, {COUNT} thermostats at {1 / INTERVAL:g} Hz beside one that hangs",
        beside["lateness_p99"],
        "ms late, p99",
        f"<= {LATENESS_MAX_MS:g}",
        # It hung, and the others did not go without their readings.
        met=0 < beside["lateness_p99"] <= LATENESS_MAX_MS
        and beside["overruns"] > bare["overruns"]
        and beside["readings_per_s"] >= 0.95 * bare["readings_per_s"] > 0,
        **{name: value for name, value in beside.items() if name != "lateness_p99"},
        **{f"without_{name}": value for name, value in bare.items()},
    )


if __name__ == "__main__":
    main()
