"""The thermostat logger: the constants of its server.py (notes, thermostat §11), which is never run."""

from devices.models import INTERVAL_MAX, INTERVAL_MIN
from labsite.import_config.given import Given
from labsite.import_config.meant import Meant
from labsite.replaced.thermostat_rows import FIELDS

NAME = "thermostat logger"
INSTRUMENT = "Thermostat"
USUAL_PORT = 8000  # of uvicorn, on which it was started


def recognises(given: Given) -> bool:
    return given.has("HOST") and given.has("POLL_PERIOD", "FIELDS", "CSV_PATH")


def meant(given: Given) -> Meant:
    meant = Meant()
    host = given.take("HOST", str, "192.168.1.26")
    period = given.take("POLL_PERIOD", float, 1.0)
    meant.add(
        "instrument",
        name=INSTRUMENT,
        driver="thermostat",
        address=f"tcp://{host}:{given.take('PORT', int, 23)}",
        interval=min(max(period, INTERVAL_MIN), INTERVAL_MAX),
    )
    meant.add("replaced", instrument=INSTRUMENT, kind="thermostat", open=True)
    port = given.take("uvicorn.port", int, USUAL_PORT)
    meant.answer_at("thermostat", port, INSTRUMENT, given.take("uvicorn.host", str, ""))
    if port == USUAL_PORT:
        meant.notes.append(
            f"port {port} is also that of Labsite's own pages, unless LABSITE_PORT says another"
        )
    meant.notes.append(
        f"{INSTRUMENT}: it answers without a login, as the logger did; without `open` it asks for one"
    )
    _fields(given)
    given.pass_over({"CSV_PATH": "its rows are taken over by `manage.py import_history`"})
    return meant


def _fields(given: Given) -> None:
    """The columns are always those that the logger came with."""
    leaf = given.leaves.get("FIELDS")
    fields = given.take("FIELDS", list, list(FIELDS)) if leaf and isinstance(leaf.value, list) else FIELDS
    given.leaves.pop("FIELDS", None)
    own = [str(field) for field in fields if field not in FIELDS]
    if leaf is not None and own:
        given.notes.append(
            f"{leaf.place}: FIELDS: {', '.join(own)}: the interface has the usual 28 columns only"
        )
