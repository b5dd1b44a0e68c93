"""Which Node.js is used on which machine."""

import subprocess
from pathlib import Path

import pytest

from chatserver.dev.node import NodeError, find_node


def put(directory: Path, name: str, output: str) -> Path:
    directory.mkdir(exist_ok=True)
    program = directory / name
    program.write_text(f"#!/bin/sh\necho {output}\n")
    program.chmod(0o755)
    return program


def test_a_new_enough_one_on_the_path_is_used(tmp_path: Path) -> None:
    node, npm = put(tmp_path, "node", "v20.0.0"), put(tmp_path, "npm", "10")
    found = find_node(str(tmp_path))
    assert (found.binary, found.npm_command) == (node, (str(npm),))


@pytest.mark.parametrize("version", ["v18.20.4", "nonsense"])
def test_an_old_or_broken_one_is_passed_over_for_the_wheel(tmp_path: Path, version: str) -> None:
    node, _ = put(tmp_path, "node", version), put(tmp_path, "npm", "9")
    assert find_node(str(tmp_path)).binary != node


def test_one_without_npm_is_passed_over(tmp_path: Path) -> None:
    node = put(tmp_path, "node", "v24.0.0")
    assert find_node(str(tmp_path)).binary != node


def test_the_wheel_has_a_node_and_an_npm_that_run(tmp_path: Path) -> None:
    node = find_node(str(tmp_path))
    for command in ([str(node.binary)], [*node.npm_command]):
        done = subprocess.run(
            [*command, "--version"], env=node.environment(), capture_output=True, check=True
        )
        assert done.stdout.strip()


def test_no_node_at_all_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NodeError, match="20 or newer with npm is missing"):
        find_node(str(tmp_path))
