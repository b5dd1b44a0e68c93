"""The chat page at `/`: serves the files that `client/web` builds, and nothing else."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from chatserver.http.origins import OriginPolicy
from chatserver.settings import BUILT_IN_PAGE, Settings

INDEX: Final = "index.html"
ASSETS: Final = "assets"
WORKER: Final = "sw.js"

# A name that changes with its content can be kept for ever.
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_REVALIDATE: Final = "no-cache"

_NAME: Final = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}"
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_SOURCE: Final = re.compile(r"https?://[A-Za-z0-9.:/_~%-]+")

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # aiohttp would tell its version and that of Python.
    hdrs.SERVER: "chatserver",
}

_UNBUILT: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>chatserver</title>
<h1>The chat page is not built</h1>
<p>Run <code>make setup</code> and start the server again. The API works without it:
<a href="/api/docs">/api/docs</a>.</p>
"""


def built_in_root() -> Path:
    """The folder of the page that comes with the server: in the package, else in the checkout."""
    package = Path(__file__).parents[1]
    inside = package / "_data" / "web"
    return inside if inside.exists() else package.parent / "client" / "web" / "dist"


def setup_pages(
    app: web.Application,
    settings: Settings,
    origins: OriginPolicy,
    built_in: Path | None = None,
    *,
    guard: Callable[[Handler], Handler] = lambda handler: handler,
) -> None:
    """Serve the page of `server.web_root`: `/`, `/assets/…` and `/sw.js`.

    The built-in one is in the folder `built_in`, by default `built_in_root()`. A checkout may
    not have built it: then `/` says how to in `dev`, and does not exist in production.
    `guard` is put around the handlers.
    """
    configured = settings.server.web_root
    if not configured:
        return
    is_built_in = configured == BUILT_IN_PAGE
    root = (built_in or built_in_root()) if is_built_in else Path(configured)
    if (root / INDEX).is_file():
        pages = ChatPages(root, origins, settings.messages.media_origins)
        app.router.add_get("/", guard(pages.index))
        app.router.add_get(f"/{WORKER}", guard(pages.worker))
        app.router.add_get(f"/{ASSETS}/{{name:{_NAME}}}", guard(pages.asset))
    elif settings.environment == "dev":
        app.router.add_get("/", _explain)


class ChatPages:
    """One built page; it may be built anew while the server runs.

    Files go out compressed to whoever accepts that, if the build has put a
    compressed copy (`.br`, `.gz`) beside them.
    """

    def __init__(self, root: Path, origins: OriginPolicy, media_origins: tuple[str, ...]) -> None:
        self._index = root / INDEX
        self._worker = root / WORKER
        self._assets = root / ASSETS
        self._origins = origins
        self._media_origins = media_origins

    async def index(self, request: web.Request) -> web.StreamResponse:
        """The page itself; browsers ask each time whether it has changed."""
        policy = content_security_policy(self._origins.own_origin(request), self._media_origins)
        return _file(self._index, _REVALIDATE, policy)

    async def worker(self, _: web.Request) -> web.StreamResponse:
        """The service worker, which keeps the page for when there is no network."""
        return _file(self._worker, _REVALIDATE, "default-src 'self'")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """A file of the page. Its name has no slash, so nothing outside of the folder has one."""
        return _file(self._assets / request.match_info["name"], _IMMUTABLE)


def content_security_policy(own_origin: str, media_origins: tuple[str, ...] = ()) -> str:
    """Content security policy of the page: this server's files, and pictures of messages.

    Connections are named with their scheme, because some browsers do not take
    'self' for a websocket.
    """
    host = own_origin.partition("://")[2]
    sockets = [f"ws://{host}", f"wss://{host}"] if _HOST.fullmatch(host) else []
    pictures = [source for source in media_origins if _SOURCE.fullmatch(source)]
    return "; ".join(
        (
            "default-src 'self'",
            " ".join(("connect-src", "'self'", *sockets)),
            " ".join(("img-src", "'self'", *pictures)),
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _file(path: Path, cache: str, policy: str | None = None) -> web.FileResponse:
    if not path.is_file():
        raise web.HTTPNotFound(headers=_HEADERS)
    headers = {**_HEADERS, hdrs.CACHE_CONTROL: cache}
    if policy is not None:
        headers["Content-Security-Policy"] = policy
    return web.FileResponse(path, headers=headers)


async def _explain(_: web.Request) -> web.Response:
    policy = "default-src 'none'; frame-ancestors 'none'"
    headers = {hdrs.CACHE_CONTROL: "no-store", "Content-Security-Policy": policy}
    return web.Response(text=_UNBUILT, content_type="text/html", headers={**_HEADERS, **headers})
