"""Who may import whom: the layers of the house, checked in the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatserver

PACKAGE = Path(chatserver.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# What everyone may use. They import nothing of the house but each other.
LEAVES = {
    *("errors", "models", "events", "settings"),
    *("aio", "auth", "telemetry"),
}

# What each layer may use beside the leaves and itself.
ALLOWED = {
    "db": set(),
    "repositories": {"db"},
    "backplane": set(),
    "services": {"repositories", "db", "backplane"},
    "schemas": {"services", "repositories"},
    "http": {"services"},
    "api": {"services", "schemas", "http"},
    "eio": {"http", "sio"},
    "sio": {"eio", "schemas"},
    "realtime": {"eio", "sio", "services", "schemas", "http"},
}

# The wiring and the commands may use everything, and nobody else uses them.
TOP = {"__init__", "__main__", "app", "cli", "gauges", "serving", "dev"}

EDGE_LIBRARIES = {
    *("aiohttp", "aiohttp_cors", "socketio", "engineio", "marshmallow", "webargs", "apispec"),
}
EDGES = {"api", "eio", "http", "realtime", "schemas", "sio", *TOP}

each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)


def layer_of(path: Path) -> str:
    """The folder in the package, or the module's own name at its top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it that stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            assert node.module
            # `from chatserver import x` imports x, `from chatserver.x import y` too.
            base = node.module
            yield from (
                f"{base}.{alias.name}" if base == "chatserver" else base for alias in node.names
            )


def own_layers(path: Path) -> set[str]:
    parts = (name.split(".") for name in imports(path))
    return {names[1] for names in parts if names[0] == "chatserver" and len(names) > 1}


@each_module
def test_imports_run_one_way(path: Path) -> None:
    layer = layer_of(path)
    if layer in TOP:
        return
    allowed = LEAVES if layer in LEAVES else LEAVES | ALLOWED[layer] | {layer}
    assert own_layers(path) <= allowed


@each_module
def test_the_web_stays_at_the_edges(path: Path) -> None:
    if layer_of(path) not in EDGES:
        libraries = {name.split(".")[0] for name in imports(path)}
        assert not libraries & EDGE_LIBRARIES


@each_module
def test_sql_is_run_in_repositories_alone(path: Path) -> None:
    """Services pass connections on; what they say to PostgreSQL is said below."""
    if layer_of(path) in {"services", "schemas", "http", "api", "eio", "sio", "realtime"}:
        allowed = {"sqlalchemy.ext.asyncio"}
        if path.name == "readiness.py":
            allowed.add("sqlalchemy")  # SELECT 1
        found = {name for name in imports(path) if name.split(".")[0] == "sqlalchemy"}
        assert found <= allowed


@each_module
def test_a_file_begins_by_saying_what_it_is_for(path: Path) -> None:
    text = path.read_text("utf-8")
    if not text.strip():
        assert path.name == "__init__.py"
        return
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring
    assert text.startswith('"""')
    assert docstring.splitlines()[0].endswith((".", "?", ":", "…"))


def test_the_layers_are_all_known() -> None:
    assert {layer_of(path) for path in MODULES} <= LEAVES | set(ALLOWED) | TOP


def test_the_rule_notices_what_it_forbids(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import aiohttp.web\n"
        "from chatserver import realtime\n"
        "def f():\n    from chatserver.api.answers import x\n"
    )
    assert set(imports(module)) == {
        "aiohttp.web", "chatserver.realtime", "chatserver.api.answers",
    }  # fmt: skip
    assert own_layers(module) == {"realtime", "api"}
