"""A real Chromium, and people who look at the chat page in it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from chatserver.dev.node import find_node
from tests.kit.stalls import PATIENCE
from tests.system.e2e.client_process import LONGEST_LINE
from tests.system.e2e.node_client import NodeClient

T = TypeVar("T")

ROOT = Path(__file__).parents[3]
WEB_ROOT = ROOT / "client" / "web" / "dist"
DRIVER = ROOT / "client" / "web" / "scripts" / "driver.mjs"

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}

# What Chromium itself says of a network that is not there, whatever the page does about it.
NETWORK_COMPLAINTS = ("error: Failed to load resource: net::ERR_", "error: WebSocket connection to")


class Shown(NamedTuple):
    """A message as a screen shows it; `state` is sending, sent, delivered, read or failed."""

    text: str
    state: str


def find_chromium() -> str:
    """The program. Without one the test is skipped; where CI is set it fails."""
    named = [os.environ.get("CHROMIUM"), *PROGRAMS]
    found = next((path for name in named if name and (path := shutil.which(name))), None)
    if found is not None:
        return found
    reason = "there is no Chromium: apt-get install chromium, or name one with CHROMIUM"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def running_browser() -> AsyncIterator[NodeClient]:
    """A Node.js process that drives a Chromium; both end with it, however it ends."""
    chromium, node = find_chromium(), find_node()
    process = await asyncio.create_subprocess_exec(
        node.binary,
        DRIVER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        env={**os.environ, "CHROMIUM": chromium},
    )
    client = NodeClient(process)
    try:
        yield client
    finally:
        await client.end()


async def eventually(look: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """What `look` answers as soon as it is `wanted`; fails with the last answer."""
    answer = await look()
    try:
        async with asyncio.timeout(PATIENCE):
            while not wanted(answer):
                await asyncio.sleep(0.05)
                answer = await look()
    except TimeoutError:
        raise AssertionError(f"not in time; at the end: {answer!r}") from None
    return answer


class Screen:
    """A page in a browser context of its own: nobody shares its storage."""

    def __init__(self, browser: NodeClient, name: str) -> None:
        self.name = name
        self._browser = browser

    async def open(self, url: str, *, locale: str = "en-GB", **options: Any) -> None:
        """`options` are those of a browser context."""
        chosen = {"locale": locale, "viewport": DESKTOP, **options}
        await self._do("open", url=url, options=chosen)

    async def locate(self, method: str, selector: str, *args: Any) -> Any:
        return await self._do("locate", method=method, selector=selector, args=args)

    async def click(self, selector: str) -> None:
        await self.locate("click", selector)

    async def count(self, selector: str) -> int:
        number: int = await self.locate("count", selector)
        return number

    async def text(self, test_id: str) -> str:
        """What the one element with that test id says, once it is there."""
        text: str = await self.locate("innerText", at(test_id))
        return text

    async def evaluate(self, expression: str) -> Any:
        return await self._do("evaluate", expression=expression)

    async def reload(self) -> None:
        await self._do("reload")

    async def go_offline(self) -> None:
        await self._do("offline", isOffline=True)

    async def go_online(self) -> None:
        await self._do("offline", isOffline=False)

    async def resize(self, width: int, height: int) -> None:
        await self._do("resize", width=width, height=height)

    async def write(self, text: str) -> None:
        """Type a message and press Enter."""
        await self.locate("fill", at("composer"), text)
        await self.locate("press", at("composer"), "Enter")

    async def sees_typing(self, writer: "Screen") -> None:
        """That `writer` types is shown: for a moment, and what tells of it may get lost."""
        seeing = asyncio.create_task(self.locate("waitFor", at("typing")))
        while not seeing.done():
            await writer.locate("pressSequentially", at("composer"), "Yes")
            await asyncio.wait([seeing], timeout=1)
        await seeing

    async def choose(self, message: str, action: str) -> None:
        """Pick `action` from the menu of the message with that text."""
        button = f'{at("message")}:has-text("{message}") [data-menu-button]'
        await self.click(button)
        await self.click(f'[role=menuitem]:has-text("{action}")')

    async def messages(self) -> list[Shown]:
        """What the log shows, from the top."""
        rows = await self.evaluate(
            """[...document.querySelectorAll('[data-testid=message]')].map((row) => [
                (row.querySelector('.message-text') ?? row.querySelector('em'))?.innerText ?? '',
                row.dataset.state,
            ])"""
        )
        return [Shown(*row) for row in rows]

    async def shows(self, *wanted: tuple[str, str]) -> None:
        """Wait until the log shows exactly these texts with their states."""
        await eventually(self.messages, lambda shown: shown == list(wanted))

    async def shows_texts(self, *wanted: str) -> None:
        """Wait until the log shows exactly these texts, in whatever state."""
        await eventually(self.messages, lambda shown: [text for text, _ in shown] == list(wanted))

    async def says(self, test_id: str, wanted: str) -> None:
        """Wait until the element with that test id shows `wanted`."""
        await eventually(lambda: self.text(test_id), lambda text: wanted in text)

    async def lacks(self, test_id: str) -> None:
        """Wait until there is no element with that test id."""
        await eventually(lambda: self.count(at(test_id)), lambda count: count == 0)

    async def problems(self, *, without_network: bool = False) -> list[str]:
        """Errors and warnings on the console, and what was not caught.

        `without_network` leaves out what Chromium itself says of a lost network.
        """
        problems: list[str] = await self._do("problems")
        ignored = NETWORK_COMPLAINTS if without_network else ()
        return [problem for problem in problems if not problem.startswith(ignored)]

    async def violations(self) -> list[str]:
        """What axe-core finds that is serious or critical."""
        found: list[str] = await self._do("audit")
        return found

    async def _do(self, command: str, **parameters: Any) -> Any:
        return await self._browser.do(command, page=self.name, **parameters)


def at(test_id: str) -> str:
    """The selector of what has this test id."""
    return f"[data-testid={test_id}]"
