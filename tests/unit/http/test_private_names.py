"""What is private to aiohttp and used all the same: it has to be there, and to work as it did.

pyproject.toml has the ceiling that goes with it. Where one of these fails, the file that it
names has to be read beside the new aiohttp before the ceiling is raised.
"""

import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web, web_protocol
from aiohttp._websocket import helpers

ROOT = Path(__file__).parents[3]

USED: list[tuple[str, Any, tuple[str, ...]]] = [
    (
        "chatserver/http/connections.py",
        web.RequestHandler,
        ("_messages", "_request_count", "_waiter"),
    ),
    ("chatserver/http/connections.py", web.AppRunner, ("_make_server",)),
    ("chatserver/http/connections.py", web.TCPSite, ("_server",)),
    ("chatserver/http/connections.py", web_protocol, ("_ErrInfo", "MAX_MSG_QUEUE_SIZE")),
    ("chatserver/eio/frames.py", helpers, ("websocket_mask",)),
    # Public by their names, but of no documentation.
    (
        "chatserver/eio/opening_handshake.py",
        web.RequestHandler,
        ("set_parser", "transport", "connection_lost"),
    ),
]


@pytest.mark.parametrize(("file", "owner", "names"), USED)
def test_aiohttp_still_has_what_is_used_of_it(
    file: str, owner: Any, names: tuple[str, ...]
) -> None:
    missing = [name for name in names if not hasattr(owner, name)]
    assert not missing, (
        f"{file} uses {missing} of {owner}, which aiohttp {aiohttp.__version__} lacks"
    )


def test_no_newer_aiohttp_is_installed_than_was_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (wanted,) = (name for name in project["dependencies"] if name.startswith("aiohttp>"))
    assert wanted.endswith(",<3.15")
