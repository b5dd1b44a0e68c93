"""What is private to a library and used all the same: it has to be there, under a ceiling.

Where one of these fails, the file that it names has to be read beside the new release before
the ceiling in pyproject.toml is raised.
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import marshmallow
import pytest
import socketio  # type: ignore[import-untyped]
from aiohttp import web, web_protocol
from aiohttp._websocket import helpers

import chatserver

PACKAGE = Path(chatserver.__file__).parent
CONNECTIONS, BASE = "http/connections.py", "schemas/base.py"
FACE = "realtime/python_socketio.py"

USED: list[tuple[str, Any, tuple[str, ...]]] = [
    (CONNECTIONS, web.RequestHandler, ("_messages", "_request_count", "_waiter")),
    (CONNECTIONS, web.AppRunner, ("_make_server",)),
    (CONNECTIONS, web.TCPSite, ("_server",)),
    (CONNECTIONS, web_protocol, ("_ErrInfo", "MAX_MSG_QUEUE_SIZE")),
    ("eio/frames.py", helpers, ("websocket_mask",)),
    # Public by their names, but of no documentation.
    (
        "eio/opening_handshake.py",
        web.RequestHandler,
        ("set_parser", "transport", "connection_lost"),
    ),
    (FACE, socketio.AsyncServer, ("_engineio_server_class", "_trigger_event")),
    (FACE, socketio.AsyncManager(), ("_generate_ack_id",)),
    (FACE, socketio.AsyncRedisManager, ("_publish", "_listen", "_thread")),
    (BASE, marshmallow.Schema, ("_declared_fields",)),
    (BASE, marshmallow.Schema(), ("_hooks",)),
]

CEILINGS = {"aiohttp": "3.15", "marshmallow": "5", "python-engineio": "5", "python-socketio": "6"}

DOCUMENTED = {"_exit", "_mapping", "_deserialize", "_serialize"}

# Of a base of our own.
OTHERS = {
    "realtime/raw_clients.py": {"_handle_connect"},
    "sio/packets.py": {"_decode_header", "_invalid", "_is_allowed"},
}


@pytest.mark.parametrize(("file", "owner", "names"), USED)
def test_the_library_still_has_what_is_used_of_it(
    file: str, owner: Any, names: tuple[str, ...]
) -> None:
    missing = [name for name in names if not hasattr(owner, name)]
    library = (getattr(owner, "__module__", None) or owner.__name__).partition(".")[0]
    assert not missing, (
        f"chatserver/{file} uses {missing} of {owner}, which {library} {version(library)} lacks"
    )


@pytest.mark.parametrize(("library", "ceiling"), CEILINGS.items())
def test_no_newer_release_is_installed_than_was_read(library: str, ceiling: str) -> None:
    pyproject = PACKAGE.parent / "pyproject.toml"
    wanted = tomllib.loads(pyproject.read_text("utf-8"))["project"]["dependencies"]
    (range_,) = (each for each in wanted if re.match(rf"{library}[^\w-]", each))
    assert range_.endswith(f",<{ceiling}")


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix()
)
def test_no_other_private_name_is_used(path: Path) -> None:
    """Of another object than `self`, that is: what is inherited, only the list above can say."""
    file = path.relative_to(PACKAGE).as_posix()
    listed = {name for used_in, _, names in USED if used_in == file for name in names}
    allowed = DOCUMENTED | OTHERS.get(file, set()) | listed
    assert set(_foreign_names(path)) <= allowed


def _foreign_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        is_own = isinstance(node.value, ast.Name) and node.value.id == "self"
        if node.attr.startswith("_") and not is_own:
            yield node.attr
