"""Copies of what is stored, in InfluxDB. PostgreSQL is the truth; a copy can be made again from it.

Ingest writes what it stores into the outbox too, in its transaction. Each sink has a position in it and is
fed from there in order by a thread of the central worker: points are formed, written, and then the position
moves. A crash between the two writes the same points again, with the same times: they are the same points.
"""
