"""Virtual time: in-memory sockets, and a clock that waits for nobody.

The loop's clock stands while anything can run and then moves to the next timer at once. So
a test of 30 seconds takes a moment, and a machine that stands still makes no timer late. A
test that waits for what cannot come any more fails at once (`SleepForeverError`).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohappyeyeballs
import async_solipsism  # type: ignore[import-untyped]
import pytest

LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

REAL_TIME: LoopFactories = {"real": asyncio.new_event_loop}
VIRTUAL_TIME: LoopFactories = {"virtual": async_solipsism.EventLoop}


def connect_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let aiohttp's clients connect on a virtual loop, too.

    They do it by a library that makes sockets of the operating system.
    """
    start_connection = aiohappyeyeballs.start_connection

    async def start(*args: Any, **options: Any) -> Any:
        is_virtual = isinstance(asyncio.get_running_loop(), async_solipsism.EventLoop)
        connect = async_solipsism.aiohappyeyeballs_start_connection
        return await (connect if is_virtual else start_connection)(*args, **options)

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start)
