"""Waiting for an outcome: a condition that holds in the end, or something that was heard."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Self

from tests.kit.stalls import PATIENCE

Condition = Callable[[], object | Awaitable[object]]


async def eventually(
    condition: Condition, seconds: float = PATIENCE, describe: Callable[[], str] = str
) -> None:
    """Wait until `condition` holds, which others make true; fails with what `describe` tells."""
    try:
        async with asyncio.timeout(seconds):
            while not await _holds(condition):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not in time: {describe()}") from None


async def _holds(condition: Condition) -> object:
    holds = condition()
    return await holds if isinstance(holds, Awaitable) else holds


class Listener(ABC):
    """Something that remembers all it hears; it calls `_notify` when that is more."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    @abstractmethod
    def of(self, kind: str) -> list[Any]:
        """Everything of one kind so far, in order."""

    @abstractmethod
    def _latest(self) -> str:
        """The last few things, for who waits in vain."""

    def _notify(self) -> None:
        self._changed.set()

    async def until(self, condition: Callable[[Self], bool], seconds: float = PATIENCE) -> None:
        """Wait until what was heard fulfils `condition`."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not in time; heard {self._latest()}") from None

    async def heard(self, kind: str, count: int = 1) -> list[Any]:
        """Wait for `count` of one kind: all of them."""
        await self.until(lambda listener: len(listener.of(kind)) >= count)
        return self.of(kind)
