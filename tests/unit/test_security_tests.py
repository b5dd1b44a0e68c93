"""The page of attacks: each test that it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security-tests.md"

NAMED = re.compile(r"`([\w/]+\.(?:py|test\.tsx?))::([^`]+)`")


def is_there(file: Path, name: str) -> bool:
    if not file.is_file():
        return False
    text = file.read_text()
    if file.suffix == ".py":
        return re.search(rf"^(async )?def {name}\(", text, re.MULTILINE) is not None
    return f'("{name}", ' in text


def test_every_line_names_tests_and_each_is_there() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    lines = [row for row in rows if not row.startswith("| Tried |")]
    assert len(lines) > 40
    for row in lines:
        named = NAMED.findall(row)
        assert len(named) == row.count("::") > 0, row
        missing = [f"{file}::{name}" for file, name in named if not is_there(ROOT / file, name)]
        assert not missing, row
