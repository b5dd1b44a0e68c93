"""What `chatserver cluster` tells of itself in cluster.json, and when its nodes are ready."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.kit.clients import Rest
from tests.kit.processes import START_TIMEOUT


def state_of(data_dir: Path) -> Any:
    return json.loads((data_dir / "cluster.json").read_text())


async def until_state(data_dir: Path, wanted: Callable[[Any], bool]) -> Any:
    """What cluster.json tells as soon as it is `wanted`."""
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            if (data_dir / "cluster.json").exists() and wanted(state_of(data_dir)):
                return state_of(data_dir)
            await asyncio.sleep(0.05)


async def until_ready(http: ClientSession, base_url: str) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                if (await Rest(http, base_url).get("/readyz")).status == 200:
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)
