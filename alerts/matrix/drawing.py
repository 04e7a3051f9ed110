"""Pictures of channels, drawn by a process of its own (alerts.matrix.plot)."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from django.conf import settings

from alerts.matrix.asking import Series

SECONDS = 30.0
SIZE = {"w": 900, "h": 450}

_one_at_a_time = asyncio.Semaphore(1)


async def draw(series: Series, folder: Path) -> bytes:
    """A PNG. Raises OSError, TimeoutError. `folder`: where Matplotlib keeps its list of fonts."""
    async with _one_at_a_time:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "alerts.matrix.plot",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            cwd=settings.BASE_DIR, env={**os.environ, "MPLCONFIGDIR": str(folder / "matplotlib")},
        )  # fmt: skip
        try:
            async with asyncio.timeout(SECONDS):
                png, complaint = await process.communicate(json.dumps(asdict(series)).encode())
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode:
        raise OSError(complaint.decode(errors="replace").strip().rsplit("\n", 1)[-1])
    return png
