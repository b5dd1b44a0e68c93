"""The bootstrap: what `make` offers, and that it installs the same everywhere."""

import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonical(line.split("==")[0]) for line in lines if not line.startswith("#")}


def test_make_alone_lists_every_command() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    declared = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert declared is not None
    assert re.findall(r"^  make ([\w-]+)", done.stdout, re.MULTILINE) == declared[1].split()


def test_constraints_pin_every_dependency_exactly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {
        canonical(match[0])
        for requirement in itertools.chain(*groups)
        if (match := re.match(r"[A-Za-z0-9._-]+", requirement))
    }
    assert wanted - pinned() == {"chatserver"}


FAULTY_BELOW = {
    "aiohttp": (3, 14, 3),
    "marshmallow": (4, 1, 2),
    "pyjwt": (2, 12),
    "python-engineio": (4, 13, 2),
    "python-socketio": (5, 16, 3),
    "redis": (7, 1),
}
"""Before these versions each has a known fault that concerns us."""


def test_no_version_with_a_known_fault_may_be_installed() -> None:
    """Line 48."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    floors = {}
    for requirement in project["dependencies"]:
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[.*\])?[>=]=([0-9.]+)", requirement)
        assert match, requirement
        floors[canonical(match[1])] = tuple(int(part) for part in match[2].split("."))
        assert canonical(match[1]) != "redis" or requirement.endswith(",<8"), "8.0 has one, too"
    for name, version in FAULTY_BELOW.items():
        assert floors[name] >= version, name


def locked(name: str) -> dict[str, int]:
    """Each package of a lock file with its version, and how many files may be installed."""
    found: dict[str, int] = {}
    for line in (ROOT / "locks" / f"{name}.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", line):
            found[f"{canonical(match[1])}=={match[2]}"] = 0
        elif match := re.match(r"    --hash=sha256:[0-9a-f]{64}", line):
            found[list(found)[-1]] += 1
        else:
            assert line.startswith("#"), line
    return found


@pytest.mark.parametrize(
    ("name", "extra"), [("server", ""), ("test", "test"), ("bench", "bench"), ("build", "build")]
)
def test_what_is_installed_is_locked_with_hashes(name: str, extra: str) -> None:
    """Line 48: `make lock` was run after the last change."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    exact = {
        "==".join((canonical(line.split("==")[0]), line.split("==")[1]))
        for line in lines
        if not line.startswith("#")
    }
    found = locked(name)
    assert set(found) <= exact
    assert all(found.values()), "a package without a hash"
    names = {each.split("==")[0] for each in found}
    assert wanted(extra, is_project=name != "build") <= names
    # The server gets nothing that only tests or builds need.
    assert name != "server" or not names & {"pytest", "pip", "setuptools", "hatchling"}


def wanted(extra: str, *, is_project: bool) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    groups = [project["dependencies"] if is_project else [], extras[extra] if extra else []]
    if extra in ("test", "bench"):
        groups.append(extras["dev"])
    return {
        canonical(match[0])
        for requirement in itertools.chain(*groups)
        if (match := re.match(r"[A-Za-z0-9._-]+", requirement))
    } - {"chatserver"}


def test_an_audit_that_could_not_be_done_fails_unless_that_was_said(tmp_path: Path) -> None:
    """Line 48: here nothing can be reached."""
    program = [sys.executable, str(ROOT / ".ci" / "audit.py")]
    nowhere = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:1", "XDG_CACHE_HOME": str(tmp_path)}
    nowhere.pop("AUDIT", None)
    for offline, code in (("", 1), ("offline", 0)):
        done = subprocess.run(
            program, cwd=ROOT, env={**nowhere, "AUDIT": offline}, capture_output=True, text=True
        )
        assert (done.returncode, "NOT DONE" in done.stdout + done.stderr) == (code, True)


def test_lock_files_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line) for line in lines)
    for folder in (ROOT / "tests/js", ROOT / "tests/js/old"):
        packages = json.loads((folder / "package-lock.json").read_text())["packages"]
        for package in packages.values():
            assert "resolved" not in package
            assert "://" not in json.dumps({**package, "funding": None})
