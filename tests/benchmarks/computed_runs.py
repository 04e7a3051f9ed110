"""What `tests.benchmarks.computed` measures: parcels with nothing defined and with something, in turn, of a
lab with the alarms of `tests.benchmarks.ingest`. Rates are of the readings that instruments bring.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import django

django.setup()

from devices.models import Channel  # noqa: E402 - after the settings
from telemetry.models import Calibration, ComputedChannel, StoragePolicy  # noqa: E402
from tests.benchmarks.ingest_runs import LOADS, Lab, Load, labsite  # noqa: E402

FORMULA = "max(channel_0, channel_1) + 0 * dew_point(channel_0, channel_1 + 40)"


def nothing(_lab: Lab) -> None:
    """Each reading is stored, and none is computed."""


def derived(lab: Lab) -> None:
    """One formula of three channels for each instrument."""
    rows = [Channel(instrument_id=pk, key="derived", label="derived") for pk in lab.instruments]
    made = Channel.objects.bulk_create(rows)
    ComputedChannel.objects.bulk_create([ComputedChannel(channel=each, formula=FORMULA) for each in made])


def calibrated(lab: Lab) -> None:
    """One polynomial for each instrument."""
    rows = [Channel(instrument_id=pk, key="channel_0.calibrated", label="c") for pk in lab.instruments]
    raws = [channels[0] for channels in lab.channels[: len(rows)]]
    made = Channel.objects.bulk_create(rows)
    ComputedChannel.objects.bulk_create(
        [ComputedChannel(channel=each, source_id=raw) for each, raw in zip(made, raws, strict=True)]
    )
    since = lab.clock.replace(year=lab.clock.year - 1)
    Calibration.objects.bulk_create(
        [
            Calibration(channel_id=raw, valid_from=since, kind="polynomial", numbers=[0.1, 1.01])
            for raw in raws
        ]
    )


def dead_band(lab: Lab) -> None:
    """A dead-band on each channel, wider than nearly all of its changes."""
    numbers = [number for channels in lab.channels for number in channels]
    StoragePolicy.objects.bulk_create(
        [StoragePolicy(channel_id=number, mode="dead_band", dead_band=5.0) for number in numbers]
    )


VARIANTS: dict[str, Callable[[Lab], None]] = {
    "nothing": nothing,
    "a derived channel an instrument": derived,
    "a calibrated channel an instrument": calibrated,
    "a dead-band on each channel": dead_band,
}


@contextmanager
def defined(lab: Lab, define: Callable[[Lab], None]) -> Iterator[None]:
    define(lab)
    try:
        yield
    finally:
        made = list(ComputedChannel.objects.values_list("channel", flat=True))
        for model in (StoragePolicy, Calibration, ComputedChannel):
            model._default_manager.all().delete()
        Channel.objects.filter(pk__in=made).delete()


def measure(lab: Lab, load: Load, repeats: int) -> Iterator[dict[str, float | str]]:
    rates: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(repeats):
        for name, define in VARIANTS.items():
            with defined(lab, define):
                labsite(lab, [lab.parcel(load)])  # looks up what is defined
                parcels = [lab.parcel(load) for _ in range(load.parcels)]
                rates[name].append(load.readings / labsite(lab, parcels))
    median = {name: statistics.median(found) for name, found in rates.items()}
    for name in VARIANTS:
        yield {
            "figure": f"ingest with {name}, {load.name}",
            "readings_per_second": round(median[name]),
            "more_time": round(median["nothing"] / median[name] - 1, 3),
        }


def main(repeats: int) -> None:
    lab = Lab()
    for load in LOADS:
        for figure in measure(lab, load, repeats):
            print(json.dumps(figure), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]))
