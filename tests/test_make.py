"""The bootstrap: what `make` offers, and that it installs the same everywhere."""

import itertools
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonical(line.split("==")[0]) for line in lines if not line.startswith("#")}


def test_make_alone_lists_every_command() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared is not None
    assert re.findall(r"make (\w+)", done.stdout) == declared[1].split()


def test_constraints_pin_every_dependency_exactly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {
        canonical(match[0])
        for requirement in itertools.chain(*groups)
        if (match := re.match(r"[A-Za-z0-9._-]+", requirement))
    }
    assert wanted - pinned() == {"chatserver"}


def test_lock_files_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line) for line in lines)
    lock = (ROOT / "tests" / "js" / "package-lock.json").read_text()
    assert "://" not in lock
    assert '"resolved"' not in lock
