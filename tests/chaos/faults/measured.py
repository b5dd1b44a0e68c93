"""A node whose event loop is measured: `python -m tests.chaos.faults.measured FOLDER serve …`.

How long others wait on a busy machine says little of the node: whoever else has the CPU
makes them wait, the load generator too. How much CPU the loop takes at a time is the
node's own doing, on any machine.
"""

import asyncio
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NoReturn

from chatserver import app

LOOK: Final = 0.005
"""Seconds between two looks of a loop that is idle. One that is not is looked at after the
turn in which it would have been."""

FOLDER: Final = Path(sys.argv[1]) if __name__ == "__main__" else Path()


async def _measure(_: Callable[[float], None]) -> NoReturn:
    last = time.thread_time()
    with (FOLDER / f"{os.getpid()}.turns").open("w", buffering=1) as file:
        while True:
            await asyncio.sleep(LOOK)
            now = time.thread_time()
            file.write(f"{time.monotonic()} {now - last}\n")
            last = now


def turns(folder: Path, pids: Iterable[int], begin: float, end: float) -> list[float]:
    """Seconds of CPU of the loops of these nodes between two looks, sorted.

    Those looks that were between the two times, of `time.monotonic`.
    """
    found = []
    for pid in pids:
        for line in (folder / f"{pid}.turns").read_text().splitlines():
            at, _, cpu = line.partition(" ")
            if cpu and begin < float(at) <= end:
                found.append(float(cpu))
    return sorted(found)


if __name__ == "__main__":
    vars(app)["measure_lag"] = _measure  # instead of the gauge's, four times a second
    sys.argv = ["chatserver", *sys.argv[2:]]
    runpy.run_module("chatserver", run_name="__main__", alter_sys=True)
