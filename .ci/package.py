"""Builds the wheel and the npm package into dist/, and tries both in clean folders.

    make package                  all of it
    make package ARGS=wheel       one of: wheel, types, node, vite, metro

What is packed is the checkout as `git clone` would have it, with what is not yet
committed: nothing installed, nothing built. It needs PyPI and the npm registry.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from chatserver.dev.node import find_node
from chatserver.dev.ports import free_port
from chatserver.dev.postgres import EmbeddedPostgres

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
STEPS = ("wheel", "types", "node", "vite", "metro")
SECRET = "7mk2xq9wz4vb8hn1rt5jc0gd6yp3slfu"
INSIDE_WHEEL = {
    "chatserver/_data/config/base.toml",
    "chatserver/_data/migrations/env.py",
    "chatserver/_data/web/index.html",
    "chatserver/_data/web/index.html.br",
    "chatserver/_data/web/licences.txt",
    "chatserver/_data/web/sw.js",
}
INSIDE_TARBALL = {
    "LICENSE",
    "README.md",
    "dist/cjs/index.js",
    "dist/cjs/package.json",
    "dist/index.d.ts",
    "dist/index.js",
    "dist/react/index.js",
    "package.json",
    "protocol/package.json",
    "react/package.json",
}

NAMES = "[ChatClient, asyncStorageOutbox, ChatProvider, useChat].map((it) => typeof it).join()"
FOUND = "function,function,function,function"
IMPORTS = """
import { ChatClient, asyncStorageOutbox } from "chatserver-client";
import { ChatProvider, useChat } from "chatserver-client/react";
"""
REQUIRES = """
const { ChatClient, asyncStorageOutbox } = require("chatserver-client");
const { ChatProvider, useChat } = require("chatserver-client/react");
"""

# Metro as React Native configures it; its own defaults are those of no platform.
METRO = """
const Metro = require("metro");
(async () => {
  const resolver = {
    resolverMainFields: ["react-native", "browser", "main"],
    platforms: ["android", "ios"],
    unstable_conditionNames: ["react-native"],
    unstable_enablePackageExports: process.argv[2] === "exports",
  };
  const config = await Metro.loadConfig({ cwd: __dirname }, { projectRoot: __dirname, resolver });
  const out = __dirname + "/out.js";
  await Metro.runBuild(config, { entry: "entry.js", out, platform: "android", dev: false });
})().catch((error) => { console.error(error); process.exit(1); });
"""
RUN_BUNDLE = """
require("vm").runInThisContext(require("fs").readFileSync("out.js", "utf8"));
console.log(globalThis.found);
"""
METROS = {
    "of React Native 0.74": ("metro@0.80", "@react-native/babel-preset@0.74", "react@18"),
    "newest for this Node.js": ("metro", "@react-native/babel-preset", "react"),
}


def say(what: str) -> None:
    print(f"package: {what}", flush=True)


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """What it prints; ends us with its last lines if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=dict(environment or clean_environment()),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        sys.exit(f"package: {' '.join(map(str, command[:4]))} failed in {cwd}:\n{tail}")
    return done.stdout


def clean_environment(**settings: str) -> dict[str, str]:
    """Ours without settings of a server and without our virtual environment."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CHAT_", "PYTHON", "VIRTUAL_ENV", "npm_", "MAKE"))
    }
    # What starts another `node` finds this one.
    ours["PATH"] = f"{find_node().binary.parent}{os.pathsep}{ours['PATH']}"
    return {**ours, **settings}


def npm(*arguments: str, cwd: Path) -> str:
    return run(*find_node().npm_command, "--loglevel=error", *arguments, cwd=cwd)


def node(script: str, cwd: Path, *options: str) -> str:
    return run(find_node().binary, *options, "-e", script, cwd=cwd).strip()


def expect(actual: object, wanted: object, what: str) -> None:
    if actual != wanted:
        sys.exit(f"package: {what}: {actual!r} instead of {wanted!r}")
    say(f"ok  {what}")


def expect_inside(names: set[str], wanted: set[str], what: str) -> None:
    expect(sorted(wanted - names), [], f"{what} holds what it should")


def copy_checkout(to: Path) -> Path:
    """The files of the checkout that git does not ignore."""
    listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    return to


# The npm package


def pack(clone: Path) -> Path:
    """The tarball, from a clone in which nothing is installed."""
    assert not (clone / "client" / "node_modules").exists()
    answer = npm("pack", "--json", "--pack-destination", str(DIST), cwd=clone / "client")
    packed = json.loads(answer)
    (about,) = packed if isinstance(packed, list) else packed.values()
    names = {file["path"] for file in about["files"]}
    expect_inside(names, INSIDE_TARBALL, "the tarball of a fresh clone")
    strange = {name for name in names if not name.startswith(("dist/",))} - INSIDE_TARBALL
    expect(strange, set(), "the tarball holds nothing else")
    own, copied = ((clone / folder / "LICENSE").read_bytes() for folder in (".", "client"))
    expect(copied == own, True, "both packages have one licence")
    return DIST / about["filename"]


def try_types(tarball: Path, folder: Path) -> None:
    """Ask publint and @arethetypeswrong/cli, which know how bundlers and TypeScript resolve."""
    new_project(folder, "publint", "@arethetypeswrong/cli")
    for tool in ("publint", "attw"):
        command = (find_node().binary, "node_modules/.bin/" + tool, str(tarball))
        run(*command, *(["--strict"] if tool == "publint" else []), cwd=folder)
        say(f"ok  {tool} has nothing to say")


def try_node(tarball: Path, folder: Path) -> None:
    new_project(folder, str(tarball), "react")
    script = f"console.log({NAMES})"
    expect(node(REQUIRES + script, folder), FOUND, "Node.js requires it")
    imported = node(IMPORTS + script, folder, "--input-type=module")
    expect(imported, FOUND, "Node.js imports it")


def try_vite(tarball: Path, folder: Path) -> None:
    """client/README.md, by its letter."""
    npm("create", "--yes", "vite@latest", "my-chat", "--", "--template", "react-ts", cwd=folder)
    project = folder / "my-chat"
    npm("install", cwd=project)
    npm("install", str(tarball), cwd=project)
    readme = (ROOT / "client" / "README.md").read_text("utf-8")
    (code,) = re.findall(r"```tsx\n(.*?)```", readme, re.DOTALL)
    (project / "src" / "App.tsx").write_text(code, "utf-8")
    npm("run", "build", cwd=project)
    (script,) = (project / "dist" / "assets").glob("*.js")
    expect("client_msg_id" in script.read_text("utf-8"), True, "a new Vite project builds with it")


def try_metro(tarball: Path, folder: Path) -> None:
    for name, packages in METROS.items():
        project = folder / packages[0]
        new_project(project, *packages, "@babel/core@7", str(tarball))
        preset = 'module.exports = { presets: ["module:@react-native/babel-preset"] };\n'
        (project / "babel.config.js").write_text(preset)
        (project / "entry.js").write_text(f"{IMPORTS}globalThis.found = {NAMES};\n")
        (project / "bundle.js").write_text(METRO)
        for mode in ("plain", "exports"):
            (project / "out.js").unlink(missing_ok=True)
            run(find_node().binary, "bundle.js", mode, cwd=project)
            how = "package exports" if mode == "exports" else "main fields"
            found = node(RUN_BUNDLE, project)
            expect(found, FOUND, f"Metro {name} bundles it by {how}")


def new_project(folder: Path, *packages: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"name": "trial", "private": true}\n')
    npm("install", *packages, cwd=folder)


# The wheel


def build_wheel(clone: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--use-pep517", "-w", DIST, clone,
        cwd=clone.parent)  # fmt: skip
    (wheel,) = DIST.glob("chatserver-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expect_inside(names, INSIDE_WHEEL, "the wheel of a fresh clone")
    licences = {name for name in names if name.endswith(".dist-info/licenses/LICENSE")}
    expect(len(licences), 1, "the wheel has its licence")
    return wheel


def try_wheel(wheel: Path, folder: Path) -> None:
    """The wheel alone, in a virtual environment of its own; PostgreSQL is ours."""
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python, program = (folder / "venv" / "bin" / name for name in ("python", "chatserver"))
    install = (python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt")
    run(*install, wheel, cwd=folder)
    with EmbeddedPostgres(folder / "postgres", tcp=True) as postgres:
        asyncio.run(postgres.create_database("chat"))
        settings = clean_environment(
            CHAT_DATABASE_URL=postgres.tcp_url("chat").replace("+asyncpg", ""),
            CHAT_JWT_SECRET=SECRET,
            CHAT_SERVER_DRAIN_DELAY="0",
            CHAT_SERVER_INTERNAL_PORT="0",
        )
        run(program, "migrate", cwd=folder, environment=settings)
        port = str(free_port())
        serve = (program, "serve", "--host", "127.0.0.1", "--port", port)
        with serving(*serve, port=port, cwd=folder, environment=settings):
            look_at(f"http://127.0.0.1:{port}", "the wheel alone")
    run(*install, f"chatserver[dev] @ {wheel.as_uri()}", cwd=folder)
    port = str(free_port())
    dev = (program, "dev", "--port", port, "--data-dir", folder / "data")
    with serving(*dev, port=port, cwd=folder, environment=clean_environment()):
        look_at(f"http://127.0.0.1:{port}", "chatserver[dev]")


@contextlib.contextmanager
def serving(
    *command: str | Path, port: str, cwd: Path, environment: Mapping[str, str]
) -> Iterator[None]:
    """Run it until it is ready, and until the block ends."""
    with (cwd / "server.log").open("w") as log:
        process = subprocess.Popen(
            [str(part) for part in command], cwd=cwd, env=environment, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 60
            while status_of(f"http://127.0.0.1:{port}/readyz") != 200:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"package: it did not start:\n{(cwd / 'server.log').read_text()}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(30)


def look_at(base: str, who: str) -> None:
    page = get(f"{base}/")
    expect("<title>" in page, True, f"{who} serves the page")
    paths = re.findall(r'(?:src|href)="(/assets/[^"]+)"', page)
    for path in (*paths, "/sw.js", "/healthz", "/api/docs", "/api/openapi.json"):
        expect(status_of(base + path), 200, f"{who} serves {path}")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    steps = set(parser.parse_args().steps or STEPS)
    if unknown := steps - set(STEPS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with tempfile.TemporaryDirectory(prefix="chatserver-package-") as name:
        root = Path(name)
        clone = copy_checkout(root / "clone")
        trials = {"types": try_types, "node": try_node, "vite": try_vite, "metro": try_metro}
        if steps & set(trials):
            tarball = pack(clone)
            for step, trial in trials.items():
                if step in steps:
                    (root / step).mkdir()
                    trial(tarball, root / step)
        if "wheel" in steps:
            (root / "wheel").mkdir()
            try_wheel(build_wheel(clone), root / "wheel")
    say(f"the packages are in {DIST}")


if __name__ == "__main__":
    main()
