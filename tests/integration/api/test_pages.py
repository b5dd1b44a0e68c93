"""The chat page: what is served of it, with which headers, and that nothing else is."""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yarl
from aiohttp import ClientSession, web
from pytest_aiohttp import AiohttpClient

from chatserver.api.pages import built_in_root, content_security_policy, setup_pages
from chatserver.http.origins import OriginPolicy
from chatserver.settings import Settings, SettingsError
from tests.integration.api.conftest import Start
from tests.integration.api.rest import Rest
from tests.kit.services import settings_for

SCRIPT = "console.log('hello')"
SECRET = "3xk9wq1nv7zh2mb8rt5jc0gd6yp4slfu"
ORIGINS = OriginPolicy(())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture
def web_root(folder: Path) -> Path:
    """A built page, and a secret beside it: made anew in one place, so that one node serves all."""
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "secret").write_text("secret")
    root = folder / "dist"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html><title>chat</title>")
    (root / "sw.js").write_text("self.skipWaiting()")
    (root / "assets" / "index-1a2b.js").write_text(SCRIPT)
    (root / "assets" / "index-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (root / "assets" / ".hidden").write_text("secret")
    return root


@pytest.fixture
async def site(start: Start, web_root: Path) -> Rest:
    return await start(server__web_root=str(web_root))


async def test_the_page_needs_no_token_and_is_asked_for_each_time(site: Rest) -> None:
    reply = await site.get("/", user=None)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")
    assert reply.headers["Cache-Control"] == "no-cache"
    assert b"<title>chat" in reply.content
    again = await site.get("/", user=None, headers={"If-None-Match": reply.headers["ETag"]})
    assert again.status == 304
    assert again.headers["Cache-Control"] == "no-cache"


async def test_a_page_that_is_built_anew_is_served_at_once(site: Rest, web_root: Path) -> None:
    (web_root / "index.html").write_text("newer and longer")
    assert (await site.get("/", user=None)).content == b"newer and longer"


async def test_a_file_of_the_page_is_kept_for_ever(site: Rest) -> None:
    reply = await site.get("/assets/index-1a2b.js", user=None)
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "javascript" in reply.headers["Content-Type"]
    assert reply.content.decode() == SCRIPT


async def test_the_service_worker_is_asked_for_each_time(site: Rest, web_root: Path) -> None:
    reply = await site.get("/sw.js", user=None)
    assert reply.status == 200
    assert "javascript" in reply.headers["Content-Type"]
    assert reply.headers["Cache-Control"] == "no-cache"
    assert reply.headers["Content-Security-Policy"] == "default-src 'self'"
    (web_root / "sw.js").unlink()
    assert (await site.get("/sw.js", user=None)).status == 404


async def test_whoever_accepts_it_gets_the_compressed_copy(site: Rest) -> None:
    headers = {"Accept-Encoding": "gzip"}
    reply = await site.get("/assets/index-1a2b.js", user=None, headers=headers)
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.headers["Vary"] == "Accept-Encoding"
    assert "javascript" in reply.headers["Content-Type"]
    assert reply.content.decode() == SCRIPT  # the client has unpacked it


async def test_the_page_loads_nothing_from_elsewhere_and_stands_in_no_frame(site: Rest) -> None:
    reply = await site.get("/", user=None)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    policy = dict(
        part.split(" ", 1) for part in reply.headers["Content-Security-Policy"].split("; ")
    )
    host = site.origin.removeprefix("http://")
    assert policy == {
        "default-src": "'self'",
        "connect-src": f"'self' ws://{host} wss://{host}",
        "img-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


@pytest.mark.parametrize(
    "origin", ["http://a b", "http://a; script-src *", "http://a'", "http://", "http://a:123456"]
)
def test_an_odd_host_adds_nothing_to_the_policy(origin: str) -> None:
    assert "connect-src 'self';" in content_security_policy(origin)


def test_pictures_may_come_from_where_media_may() -> None:
    allowed = ("https://media.example.org/chat/", "https://x.example.org/;script-src *")
    policy = content_security_policy("http://[::1]:8080", allowed)
    assert "img-src 'self' https://media.example.org/chat/;" in policy
    assert "connect-src 'self' ws://[::1]:8080 wss://[::1]:8080;" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/nothing.js",
        "/assets/.hidden",
        "/assets/..",
        "/assets/../index.html",
        "/assets/..%2F..%2Fsecret",
        "/assets/%2e%2e%2f%2e%2e%2fsecret",
        "/assets/..%5C..%5Csecret",
        "/assets/index-1a2b.js%00",
        "/assets/" + "a" * 300,
        "/secret",
        "/index.html",
    ],
)
async def test_nothing_but_the_page_is_served(site: Rest, path: str) -> None:
    url = yarl.URL(site.origin + path, encoded=True)
    async with ClientSession() as session, session.get(url) as response:
        assert response.status == 404
        assert "secret" not in await response.text()


async def test_the_page_takes_no_place_from_the_api(site: Rest) -> None:
    assert (await site.post("/", {}, user=None)).outcome[0] == 405
    assert (await site.get("/api/chat/conversations")).status == 200
    assert (await site.get("/healthz", user=None)).status == 200


async def test_a_page_that_is_not_built_is_explained_in_dev(
    tmp_path: Path, aiohttp_client: AiohttpClient
) -> None:
    app = web.Application()
    setup_pages(app, settings_for("postgresql://"), ORIGINS, built_in=tmp_path)
    reply = await (await aiohttp_client(app)).get("/")
    assert reply.status == 200
    assert "make setup" in await reply.text()
    assert reply.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("configured", "built_in", "title"),
    [
        ("built-in", "dist", "chat"),
        ("built-in", "elsewhere", None),
        ("", "dist", None),
        ("own", "dist", "own"),
    ],
)
async def test_production_serves_the_page_that_comes_with_it_unless_told_otherwise(
    web_root: Path,
    configured: str,
    built_in: str,
    title: str | None,
    monkeypatch: pytest.MonkeyPatch,
    aiohttp_client: AiohttpClient,
) -> None:
    folder = web_root.parent
    # Empty is no path: not even that of the folder in which the server was started.
    monkeypatch.chdir(web_root)
    (folder / "own").mkdir()
    (folder / "own" / "index.html").write_text("<title>own")
    value = str(folder / "own") if configured == "own" else configured
    production = replace(settings_for("postgresql://"), environment="production")
    settings = production.override(jwt__secret=SECRET, server__web_root=value)
    app = web.Application()
    setup_pages(app, settings, ORIGINS, built_in=folder / built_in)
    reply = await (await aiohttp_client(app)).get("/")
    assert reply.status == (404 if title is None else 200)
    assert title is None or f"<title>{title}" in await reply.text()


def test_the_page_comes_with_the_server_by_default() -> None:
    settings = Settings.load(
        "production", {"CHAT_DATABASE_URL": "postgresql://", "CHAT_JWT_SECRET": SECRET}
    )
    assert settings.server.web_root == "built-in"
    # What a wheel has inside itself is seen by .ci/package; a checkout builds it here.
    assert built_in_root() == Path(__file__).parents[3] / "client" / "web" / "dist"


def test_a_folder_without_a_page_stops_the_start(tmp_path: Path) -> None:
    overrides = {"database.url": "postgresql://", "server.web_root": str(tmp_path)}
    with pytest.raises(SettingsError, match=r"server\.web_root"):
        Settings.load("dev", {}, overrides=overrides)
