"""The Socket.IO clients that the server is tried with, each in its versions."""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit.app import Person
from tests.system.e2e.client_process import ClientProcess, running_process
from tests.system.e2e.node_client import running_node_client

ROOT = Path(__file__).parents[3]
DRIVER = ROOT / "tests/python/driver.py"
OLDER = ROOT / ".venv/clients"
"""A folder for each older python-socketio; `make` installs them."""


@dataclass(frozen=True)
class Version:
    """`options` are those of the driver's `open`; `python` is python-socketio's version."""

    name: str
    python: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    is_always_tried: bool = True
    """Whether in `make test`, too, and not only in `make clients`."""

    def credentials(self, person: Person) -> dict[str, Any]:
        """The options with which it presents the token; 5.1 cannot send `auth`."""
        if self.python == "5.1.0":
            return {"headers": {"Authorization": f"Bearer {person.token()}"}}
        return {"auth": {"token": person.token()}}


def _node(name: str, *, is_always_tried: bool = True) -> Version:
    library = f"socket.io-client-{name}"
    return Version(library, None, {"library": library}, is_always_tried)


def _python(version: str, *, is_always_tried: bool = True) -> list[Version]:
    return [
        Version(
            f"python-socketio {version} {'sync' if is_sync else 'async'}",
            version,
            {"is_sync": is_sync},
            is_always_tried,
        )
        for is_sync in (False, True)
    ]


NEWEST_PYTHON = "5.18.1"

VERSIONS = [
    version
    for version in (
        _node("3.0"),
        _node("4.0", is_always_tried=False),
        _node("4.4", is_always_tried=False),
        Version("socket.io-client"),
        *_python("5.1.0"),
        *_python("5.2.1", is_always_tried=False),
        *_python("5.7.2", is_always_tried=False),
        *_python(NEWEST_PYTHON),
    )
    if version.is_always_tried or os.environ.get("CLIENTS") == "all"
]


@asynccontextmanager
async def running_versions() -> AsyncIterator[dict[str | None, ClientProcess]]:
    """A process for each Python version, and one for all of Node.js under None."""
    async with AsyncExitStack() as stack:
        found: dict[str | None, ClientProcess] = {
            None: await stack.enter_async_context(running_node_client())
        }
        for python in {version.python for version in VERSIONS} - {None}:
            assert python is not None
            folder = OLDER / python.rpartition(".")[0]
            path = {"PYTHONPATH": str(folder)} if python != NEWEST_PYTHON else {}
            process = await stack.enter_async_context(
                running_process(sys.executable, "-P", DRIVER, **path)
            )
            found[python] = process
        for python, process in found.items():
            assert python is None or await process.do("version") == python
        yield found
