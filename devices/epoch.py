"""The epoch: which life of the database this is. An edge's book holds within one epoch."""

import hashlib

from django.db import connection

IDENTITY = """
SELECT system_identifier, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8),
       (SELECT oid FROM pg_database WHERE datname = current_database()), 'devices_edge'::regclass::oid
FROM pg_control_system()
"""


def epoch() -> str:
    """16 hexadecimal digits that change when the database is restored: nothing is stored, nothing to forget.

    The cluster changes when a backup is restored elsewhere, the timeline when it is restored to a point in
    time, the database and the table when a dump is loaded.
    """
    with connection.cursor() as cursor:
        cursor.execute(IDENTITY)
        return digest(cursor.fetchone())


def digest(identity: tuple[object, ...] | None) -> str:
    """The epoch for a row of IDENTITY."""
    return hashlib.sha256(repr(identity).encode()).hexdigest()[:16]
