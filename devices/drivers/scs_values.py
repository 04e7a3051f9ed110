"""What the files of SCS hold, as readings; what is not as it should be costs only its own channel."""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from devices.drivers import json_values
from devices.drivers.base import Channel
from devices.readings import Quality, Reading, Value, Vector

STEPS_MAX = 10_000
PLACES_MAX = 1_000  # of a vector

Take = Callable[[Any], Value]


class Field(NamedTuple):
    """A channel, and where its value stands."""

    channel: Channel
    name: str
    take: Take
    may_be_null: bool = False

    def reading(self, where: Any, time: int) -> Reading:
        found = where.get(self.name) if isinstance(where, dict) else None
        if found is None and self.may_be_null:
            return Reading(self.channel.key, None, Quality.UNCERTAIN, time)
        value = self.take(found)
        quality = Quality.BAD if value is None else Quality.GOOD
        if isinstance(value, float) and self.channel.high is not None and not 0 <= value <= self.channel.high:
            quality = Quality.UNCERTAIN
        return Reading(self.channel.key, value, quality, time)


def _vector(found: Any) -> Value:
    """Of a list of numbers, or of lists of numbers."""
    if not isinstance(found, list) or not found:
        return None
    rows = found if all(isinstance(row, list) for row in found) else [found]
    values = tuple(json_values.number(value) for row in rows for value in row)
    if len(values) > PLACES_MAX:
        return None
    if rows is not found:
        return Vector(values)
    return Vector(values, tuple(f"{i}.{j}" for i, row in enumerate(rows) for j in range(len(row))))


def _as_text(found: Any) -> Value:
    return json_values.text(json.dumps(found, ensure_ascii=False)) if isinstance(found, dict) else None


def _share(key: str, label: str, name: str = "") -> Field:
    return Field(Channel(key, label, low=0, high=1, digits=4), name or key, json_values.number)


def _config(
    name: str, label: str, kind: str, *, may_be_null: bool = False, digits: int | None = None
) -> Field:
    take: Take = {"text": json_values.text, "int": json_values.whole}.get(kind, json_values.number)
    return Field(Channel(f"config.{name}", label, kind=kind, digits=digits), name, take, may_be_null)


PERFORMANCE = (_share("psi", "ψ quality"), _share("rho", "ρ stability"), _share("omega", "ω efficiency"))
OF_A_STEP = (
    Field(Channel("step", "step", kind="int"), "step", json_values.whole),
    _share("resonance", "resonance J", "j_t"),
    Field(Channel("por_accepted", "step accepted", kind="bool"), "por_accepted", json_values.truth),
    Field(Channel("cri_triggered", "regime changed", kind="bool"), "cri_triggered", json_values.truth),
)
CONFIG = (
    _config("algorithm", "algorithm", "text"),
    _config("ansatz_type", "ansatz", "text"),
    _config("ansatz_depth", "ansatz depth", "int"),
    _config("optimizer", "optimizer", "text"),
    _config("learning_rate", "learning rate", "float", digits=5),
    _config("max_iterations", "iterations at most", "int"),
    _config("num_random_starts", "random starts", "int"),
    _config("dephasing_rate", "dephasing rate", "float", may_be_null=True, digits=5),
    _config("shot_count", "shots", "int", may_be_null=True),
    _config("name", "configuration", "text", may_be_null=True),
    _config("timestamp", "configuration's time", "text", may_be_null=True),
    Field(Channel("config.params", "more parameters", kind="text"), "params", _as_text),
)
FIELD = (
    Field(Channel("field.dimension", "field's dimension", kind="int"), "dimension", json_values.whole),
    Field(Channel("field.alpha", "field's memory α", digits=3), "alpha", json_values.number),
    Field(Channel("field.gamma", "field's injection γ", digits=3), "gamma", json_values.number),
    Field(Channel("field.beta_weights", "field's weights β", kind="vector"), "beta_weights", _vector),
    Field(Channel("field.state", "field", kind="vector"), "field_state", _vector),
    Field(Channel("field.submodules", "field's submodules", kind="vector"), "submodule_states", _vector),
)
CRI = (
    Field(
        Channel("cri.steps_since_impulse", "steps since the regime changed", kind="int"),
        "steps_since_impulse",
        json_values.whole,
    ),
    Field(
        Channel("cri.current_j_t", "resonance J, as last averaged", digits=4),
        "current_j_t",
        json_values.number,
    ),
    Field(Channel("cri.is_stagnating", "stagnating", kind="bool"), "is_stagnating", json_values.truth),
    Field(Channel("cri.is_degrading", "degrading", kind="bool"), "is_degrading", json_values.truth),
    Field(Channel("cri.history_length", "steps looked at", kind="int"), "history_length", json_values.whole),
    Field(Channel("cri.history", "resonance J of the last steps", kind="vector"), "j_t_history", _vector),
)
STEP_COUNT = Field(Channel("step_count", "steps done", kind="int"), "step_count", json_values.whole)
CHANNELS = tuple(field.channel for field in (*PERFORMANCE, *OF_A_STEP, *CONFIG, STEP_COUNT, *FIELD, *CRI))
OF_STEPS = tuple(field.channel.key for field in (*PERFORMANCE, *OF_A_STEP, *CONFIG))
OF_STATE = tuple(field.channel.key for field in (STEP_COUNT, *FIELD, *CRI) if field.channel.kind != "vector")


class Step(NamedTuple):
    """One step of the history; `time` in µs of UTC."""

    time: int
    number: int
    entry: dict[str, Any]

    def readings(self) -> list[Reading]:
        return [
            *_readings(PERFORMANCE, self.entry.get("performance"), self.time),
            *_readings(OF_A_STEP, self.entry, self.time),
            *_readings(CONFIG, self.entry.get("config"), self.time),
        ]


def steps(history: Any) -> list[Step]:
    """Those that have a number and a time, as they stand in the file."""
    entries = history.get("history") if isinstance(history, dict) else None
    found = []
    for entry in entries[-STEPS_MAX:] if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            time, number = json_values.unix(entry.get("timestamp")), json_values.whole(entry.get("step"))
            if time is not None and number is not None:
                found.append(Step(time, number, entry))
    return found


def of_state(state: Any, time: int) -> list[Reading]:
    """What only the state tells."""
    inside = state if isinstance(state, dict) else {}
    return [
        STEP_COUNT.reading(inside, time),
        *_readings(FIELD, inside.get("field"), time),
        *_readings(CRI, inside.get("cri_diagnostics"), time),
    ]


def of_lone_state(state: Any, time: int) -> list[Reading]:
    """What otherwise a step tells."""
    inside = state if isinstance(state, dict) else {}
    readings = _readings(PERFORMANCE, inside.get("current_performance"), time)
    figures = [json_values.number(reading.value) for reading in readings]
    if None not in figures:
        resonance = math.prod(figure for figure in figures if figure is not None)
        readings.append(Reading("resonance", resonance, max(r.quality for r in readings), time))
    return [*readings, *_readings(CONFIG, inside.get("current_config"), time)]


def _readings(fields: tuple[Field, ...], where: Any, time: int) -> list[Reading]:
    """A vector that is none is left out."""
    readings = [field.reading(where, time) for field in fields]
    kinds = [field.channel.kind for field in fields]
    return [r for r, kind in zip(readings, kinds, strict=True) if kind != "vector" or r.value is not None]
