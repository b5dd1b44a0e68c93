"""The packed npm package in an empty Vite project, with the example of its README."""

import re
import subprocess
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from chatserver.dev.node import find_node
from chatserver.dev.ports import free_port
from tests.system.e2e.browser import ROOT, Screen, eventually, running_browser
from tests.system.e2e.house import running_house

CLIENT = ROOT / "client"

INDEX = """<!doctype html>
<link rel="icon" href="data:,">
<div id="root"></div>
<script type="module" src="/src/main.tsx"></script>
"""
MAIN = """
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import App from "./App.tsx";

createRoot(document.getElementById("root")!).render(<StrictMode><App /></StrictMode>);
"""
# As `npm create vite@latest -- --template react-ts` writes it.
TSCONFIG = """
{
  "compilerOptions": {
    "target": "es2023", "lib": ["ES2023", "DOM"], "module": "esnext", "types": ["vite/client"],
    "moduleResolution": "bundler", "allowImportingTsExtensions": true, "strict": true,
    "verbatimModuleSyntax": true, "moduleDetection": "force", "noEmit": true, "jsx": "react-jsx",
    "noUnusedLocals": true, "noUnusedParameters": true, "erasableSyntaxOnly": true
  },
  "include": ["src"]
}
"""


def example() -> str:
    """The first program of client/README.md."""
    found = re.search(r"```tsx\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def make_project(project: Path, server_url: str) -> None:
    """An empty project with the packed package, and nothing of the workspace's own sources."""
    (project / "src").mkdir(parents=True)
    (project / "index.html").write_text(INDEX)
    (project / "tsconfig.json").write_text(TSCONFIG)
    (project / "src" / "main.tsx").write_text(MAIN)
    app = example().replace("http://localhost:8080", server_url)
    assert server_url in app
    (project / "src" / "App.tsx").write_text(app)
    install(project / "node_modules", pack(project.parent))


def pack(directory: Path) -> Path:
    """The tarball, of what `make setup` has built."""
    node = find_node()
    command = [*node.npm_command, "pack", "--ignore-scripts", "--pack-destination", str(directory)]
    subprocess.run(command, cwd=CLIENT, env=node.environment(), capture_output=True, check=True)
    (tarball,) = directory.glob("*.tgz")
    return tarball


def install(modules: Path, tarball: Path) -> None:
    """Unpack it where npm would, beside what the workspace has installed already."""
    modules.mkdir()
    for package in (CLIENT / "node_modules").iterdir():
        if not package.name.startswith((".", "chatserver-")):
            (modules / package.name).symlink_to(package)
    with tarfile.open(tarball) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "chatserver-client")


def build(project: Path) -> None:
    """Check the types and build, as `npm run build` does there."""
    node = find_node()
    for program in ("typescript/bin/tsc", "vite/bin/vite.js build"):
        path, *arguments = program.split()
        command = [str(node.binary), str(project / "node_modules" / path), *arguments]
        done = subprocess.run(
            command,
            cwd=project,
            env=node.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warn" not in done.stderr.lower(), done.stderr


@asynccontextmanager
async def hosting(site: Path, port: int, token: str) -> AsyncIterator[None]:
    """The user's own back end: the built site, and a token for whoever looks at it."""

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(site / "index.html")

    async def chat_token(_: web.Request) -> web.Response:
        return web.Response(text=token)

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/my/chat-token", chat_token)
    app.router.add_static("/assets", site / "assets")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "localhost", port).start()
        yield
    finally:
        await runner.cleanup()


async def test_the_readmes_example_is_a_chat(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    page = f"http://localhost:{port}"
    async with (
        running_browser() as browser,
        running_house(database_url, tmp_path, cors__origins=page) as house,
    ):
        project = tmp_path / "my-chat"
        make_project(project, house.base_url)
        build(project)
        await house.send(house.chat.landlord, "Welcome")
        async with hosting(project / "dist", port, house.chat.tenant.token()):
            screen = Screen(browser, "tenant")
            await screen.open(page)
            await screen.click("button:has-text('A flat (1)')")
            await screen.locate("waitFor", "p:has-text('Welcome')")
            await screen.locate("fill", "input[name=text]", "Thank you")
            await screen.locate("press", "input[name=text]", "Enter")
            await screen.locate("waitFor", "p:has-text('Thank you sent')")
            await eventually(house.stored, lambda stored: stored[0] == ("Welcome", "read"))
            assert await house.stored() == [("Welcome", "read"), ("Thank you", "sent")]
            await house.send(house.chat.landlord, "See you")
            await screen.locate("waitFor", "p:has-text('See you')")
            assert await screen.locate("count", "p") == 3
            assert await screen.problems() == []


def test_the_example_has_less_than_30_lines() -> None:
    assert len(example().splitlines()) < 30
