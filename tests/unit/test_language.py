"""The language of docstrings, and the file names of docs/architecture.md."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("chatserver", "bench", "tests/kit")
    for path in (ROOT / folder).rglob("*.py")
    if "node_modules" not in path.parts
)
CLIENT = sorted(
    path for folder in ("client/src", "client/web/src") for path in (ROOT / folder).rglob("*.ts*")
)

WORDS = "What|Whether|How|Those|Who|As|Where|When|Which"
NO_NOUN = re.compile(rf"({WORDS})\b")
NO_NOUN_IN_TS = re.compile(rf"/\*\*\s+(?:\* )?((?:{WORDS})\b[^\n]*)")

PAGE = ROOT / "docs" / "architecture.md"
FILE = re.compile(r"`([\w./]+/[\w.]+\.(?:py|tsx?))`")


def docstrings(text: str) -> Iterator[str]:
    """Docstrings of modules, classes and functions, and strings below assignments."""
    for node in ast.walk(ast.parse(text)):
        for field in ("body", "orelse"):
            block = getattr(node, field, None)
            for statement in block if isinstance(block, list) else ():
                match statement:
                    case ast.Expr(value=ast.Constant(value=str(docstring))):
                        yield docstring


def test_each_kind_of_docstring_is_found() -> None:
    text = '"""A."""\nB = 1\n"""B."""\nclass C:\n    """C."""\n    def d(self):\n        "D."\n'
    assert sorted(docstrings(text)) == ["A.", "B.", "C.", "D."]


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    bad = [
        f"{path.relative_to(ROOT)}: {text.splitlines()[0]}"
        for path in SOURCES
        for text in docstrings(path.read_text())
        if NO_NOUN.match(text)
    ]
    assert len(SOURCES) > 200
    assert bad == []


def test_doc_comments_of_the_client_begin_with_a_verb_or_a_noun() -> None:
    bad = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in CLIENT
        for text in NO_NOUN_IN_TS.findall(path.read_text())
    ]
    assert len(CLIENT) > 80
    assert bad == []


def test_the_architecture_page_names_files_that_exist() -> None:
    named = set(FILE.findall(PAGE.read_text()))
    assert len(named) > 40
    roots = (ROOT, ROOT / "chatserver")
    assert {name for name in named if not any((root / name).is_file() for root in roots)} == set()
