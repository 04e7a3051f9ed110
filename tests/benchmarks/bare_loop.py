"""The baseline of the cadence figure: asyncio, TCP, JSON and SQLite with nothing of Labsite around them.

Reads thermostat addresses from standard input, one a line; asks each for a report every second; writes what
came to SQLite once a second. Prints one JSON line when `SECONDS` are over: CPU seconds used and lateness.
"""

import asyncio
import json
import resource
import sqlite3
import sys
import threading
from urllib.parse import urlsplit

WARM_UP_S = 5.0


class BareLoop:
    def __init__(self, addresses: list[str], seconds: float, path: str) -> None:
        self.addresses = addresses
        self.seconds = seconds
        self.path = path
        self.rows: list[tuple[int, float, list[object]]] = []
        self.late: list[float] = []

    async def poll(self, number: int, address: str, start: float) -> None:
        url = urlsplit(address)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        loop = asyncio.get_running_loop()
        due = start + number / len(self.addresses)
        while due < start + WARM_UP_S + self.seconds:
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            now = loop.time()
            if due > start + WARM_UP_S:
                self.late.append(now - due)
            writer.write(b"report\n")
            report = json.loads(await reader.readline())
            self.rows.append((number, now, [value for channel in report for value in channel.values()]))
            due += 1.0
        writer.close()

    def write(self, database: sqlite3.Connection, rows: list[tuple[int, float, list[object]]]) -> None:
        database.execute("INSERT INTO reading SELECT value FROM json_each(?)", (json.dumps(rows),))
        database.commit()

    async def flush(self, stop: asyncio.Event) -> None:
        database = sqlite3.connect(self.path, check_same_thread=False)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE reading (row TEXT)")
        while not stop.is_set():
            await asyncio.sleep(1.0)
            rows, self.rows = self.rows, []
            await asyncio.to_thread(self.write, database, rows)
        database.close()

    async def main(self) -> dict[str, float]:
        stop = asyncio.Event()
        flush = asyncio.create_task(self.flush(stop))
        start = asyncio.get_running_loop().time() + 2.0
        marks: list[float] = []
        asyncio.get_running_loop().call_at(start + WARM_UP_S, lambda: marks.append(cpu()))
        await asyncio.gather(*(self.poll(n, address, start) for n, address in enumerate(self.addresses)))
        used = cpu() - marks[0]
        stop.set()
        await flush
        late = sorted(self.late)
        return {
            "cpu": used / self.seconds,
            "late_p99_ms": late[int(len(late) * 0.99)] * 1000,
            "polls": len(late),
        }


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    threading.stack_size(256 * 1024)
    lines = [line.strip() for line in sys.stdin if line.strip()]
    print(json.dumps(asyncio.run(BareLoop(lines, float(sys.argv[1]), sys.argv[2]).main())))  # noqa: T201
