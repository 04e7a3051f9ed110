"""QuantStudio, its channels; what matters first comes first: what streams, the run, then what is asked."""

from collections.abc import Sequence

from devices.drivers.base import Channel
from devices.drivers.quantstudio_queries import COUNTED, PROPERTIES

# Key, label, unit or kind, decimals. `#` stands for each zone, `*` for each filter set.
_DECLARED: tuple[tuple[str, str, str, int | None], ...] = (
    ("state", "state", "text", None),
    ("sample.#", "sample zone #", "Cel", 1),
    ("block.#", "block zone #", "Cel", 1),
    ("cover", "cover", "Cel", 1),
    ("heatsink", "heat sink", "Cel", 1),
    ("run.elapsed", "run time", "s", 0),
    ("run.active", "active run time", "s", 0),
    ("run.remaining", "remaining run time", "s", 0),
    ("run.stage", "stage", "int", None),
    ("run.stage_name", "stage by name", "text", None),
    ("run.cycle", "cycle", "int", None),
    ("run.step", "step", "int", None),
    ("fluorescence.*", "fluorescence *", "vector", None),
    ("led.temperature", "LED temperature", "Cel", 3),
    ("led.current", "LED current", "A", 3),
    ("led.voltage", "LED voltage", "V", 3),
    ("led.junction", "LED junction temperature", "Cel", 3),
    ("lamp", "lamp", "bool", None),
    ("power", "power", "bool", None),
    ("drawer", "drawer", "text", None),
    ("cover.position", "cover position", "text", None),
    ("cover.heating", "cover heating", "bool", None),
    ("cover.target", "cover target", "Cel", 1),
    ("block.heating", "block held", "bool", None),
    ("block.target", "block target", "Cel", 1),
    ("light.color", "front light", "text", None),
    ("light.mode", "front light mode", "text", None),
    ("target.#", "target zone #", "Cel", 1),
    ("target.cover", "target cover", "Cel", 1),
    ("target.fan", "target fan", "", 1),
    ("control.#", "control zone #", "bool", None),
    ("control.cover", "control cover", "bool", None),
    ("control.fan", "control fan", "bool", None),
    ("progress.title", "run title", "text", None),
    ("progress.mode", "run mode", "text", None),
    ("progress.protocol", "protocol", "text", None),
    ("progress.volume", "sample volume", "uL", 1),
    ("progress.stage", "stage, as asked", "text", None),
    ("progress.stages", "stages in all", "int", None),
    ("progress.cycle", "cycle, as asked", "int", None),
    ("progress.cycles", "cycles of the stage", "int", None),
    ("progress.step", "step, as asked", "int", None),
    ("progress.point", "point, as asked", "int", None),
    ("progress.elapsed", "run time, as asked", "s", 0),
    ("progress.remaining", "remaining run time, as asked", "s", 0),
    ("progress.estimated", "estimated run time", "s", 0),
    ("progress.started", "run started, seconds since 1970", "s", 0),
    ("asked.sample.#", "sample zone #, as asked", "Cel", 4),
    ("asked.block.#", "block zone #, as asked", "Cel", 4),
    ("asked.cover", "cover, as asked", "Cel", 4),
    ("asked.led.temperature", "LED temperature, as asked", "Cel", 4),
    ("clock.offset", "its clock, ahead of the edge's", "s", 3),
    ("machine.name", "name", "text", None),
    ("machine.product", "product", "text", None),
    ("machine.firmware", "firmware", "text", None),
    ("machine.build", "build", "text", None),
    ("block.zones", "zones", "int", None),
    *(
        (f"block.{key}", label, unit if name in COUNTED else "text", None)
        for name, key, label, unit in PROPERTIES
    ),
)
_KINDS = {"text", "int", "bool", "vector"}


def channels(zones: int, filter_sets: Sequence[str]) -> tuple[Channel, ...]:
    """Those of a block with so many zones."""
    each = [str(zone) for zone in range(1, zones + 1)]
    found = []
    for key, label, what, digits in _DECLARED:
        places, mark = (each, "#") if "#" in key else (filter_sets, "*") if "*" in key else ("-", "-")
        kind, unit = (what, "") if what in _KINDS else ("float", what)
        found += [
            Channel(key.replace(mark, place), label.replace(mark, place), unit, kind, digits=digits)
            for place in places
        ]
    return tuple(found)
