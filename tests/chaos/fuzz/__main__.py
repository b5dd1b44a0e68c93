"""`python -m tests.chaos.fuzz`: random frames and requests, and a report of what came of them.

The same seed makes the same connections and requests; `make fuzz` runs it.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.chaos.fuzz.runs import fuzz
from tests.kit.postgres import Databases, running_postgres


async def main(seed: int, frames: int, requests: int) -> int:
    with running_postgres() as server, tempfile.TemporaryDirectory() as directory:
        async with Databases(server).migrated() as url:
            report = await fuzz(url, Path(directory), seed=seed, frames=frames, requests=requests)
    print(report)
    return bool(report.failures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=50_000)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sys.exit(asyncio.run(main(options.seed, options.frames, options.requests)))
