"""A chiller to try the driver with: python docs/examples/chiller_server.py [PORT]"""

import asyncio
import random
import sys

ANSWERS = {b"ID?": b"KELDA C20 rev 3", b"SP?": b"20.0", b"FL?": b"6.4"}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        bath = b"%.2f" % random.gauss(20.0, 0.05)
        writer.write(ANSWERS.get(line.strip(), bath if line == b"PV?\n" else b"!1") + b"\n")
    writer.close()


async def main(port: int) -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int((sys.argv[1:] or ["4001"])[0])))
