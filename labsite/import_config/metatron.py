"""Metatron Telemetry, metatron_telemetry.toml and its variables: where it listened.

The server read no file and needed all its variables at once (notes §5); here each is read by itself, the
documented spelling (METATRON__…) and the one that worked (METATRON_SERVER__…), which counts first.
"""

from labsite.import_config.given import Given
from labsite.import_config.meant import Meant

NAME = "Metatron Telemetry"
INSTRUMENT = "Metatron"
PREFIXES = ("METATRON_", "TELEMETRY_HOST", "TELEMETRY_PORT")
HERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not listened on
VARIABLES = {
    "server.host": ("METATRON_SERVER__HOST", "METATRON__SERVER__HOST"),
    "server.port": ("METATRON_SERVER__PORT", "METATRON__SERVER__PORT"),
    "static_dir": ("METATRON_STATIC_DIR", "METATRON__STATIC_DIR"),
}
NO_PAGE = "its page is not served by Labsite: docs/replaced.md"
IGNORED = {
    "static_dir": NO_PAGE,
    "server.static_dir": NO_PAGE,
    **dict.fromkeys(("TELEMETRY_HOST", "TELEMETRY_PORT"), "no program ever read it"),
    **dict.fromkeys(sum(VARIABLES.values(), ()), "the other spelling counts, which is given too"),
}


def recognises(given: Given) -> bool:
    return given.has("server.host", "server.port", "static_dir", *sum(VARIABLES.values(), ()))


def meant(given: Given) -> Meant:
    for path, names in VARIABLES.items():
        for name in reversed(names):  # the one with more weight last
            if leaf := given.leaves.get(name):
                given.over(path, leaf.value, leaf.place)
        for name in names:
            if (leaf := given.leaves.get(name)) and leaf.value == given.leaves[path].value:
                del given.leaves[name]
    host = given.take("server.host", str, "127.0.0.1")
    port = given.take("server.port", int, 8080)
    meant = Meant()
    near = "127.0.0.1" if host in HERE else host
    meant.add(
        "instrument",
        name=INSTRUMENT,
        driver="metatron",
        address=f"http://{f'[{near}]' if ':' in near else near}:{port}",
        interval=1.0,
    )
    meant.add("replaced", instrument=INSTRUMENT, kind="metatron", open=True)
    meant.answer_at("metatron", port, INSTRUMENT, host)
    meant.notes.append(
        f"port {port}: the server cannot listen there beside Labsite: move it, and change its address"
    )
    meant.notes.append(
        f"{INSTRUMENT}: it answers without a login, as the server did; without `open` it asks for one"
    )
    given.pass_over(IGNORED)
    return meant
