"""Who may import whom: the layers of the house, checked in the source itself."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import chatserver

PACKAGE = Path(chatserver.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
CLIENT = PACKAGE.parent / "client" / "src"

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
    "eio": set(),
    "sio": {"eio"},
    "realtime": {"eio", "sio", "services", "schemas", "http"},
}

# The protocol knows nothing of the chat, nor of the libraries that it is presented as.
PROTOCOL_LIBRARIES = {"eio": {"aiohttp", "multidict", "orjson"}, "sio": {"orjson"}}
SOCKETIO = {"socketio", "engineio"}
PRESENTATION = PACKAGE / "realtime" / "python_socketio.py"

# The wiring and the commands may use everything, and nobody else uses them.
TOP = {"__init__", "__main__", "app", "parts", "cli", "gauges", "serving", "dev"}

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
    leaves = {"aio"} if layer in PROTOCOL_LIBRARIES else LEAVES
    allowed = leaves if layer in LEAVES else leaves | ALLOWED[layer] | {layer}
    assert own_layers(path) <= allowed


@each_module
def test_the_web_stays_at_the_edges(path: Path) -> None:
    if layer_of(path) not in EDGES:
        libraries = {name.split(".")[0] for name in imports(path)}
        assert not libraries & EDGE_LIBRARIES


@each_module
def test_socketio_is_imported_in_one_file(path: Path) -> None:
    libraries = {name.split(".")[0] for name in imports(path)}
    assert path == PRESENTATION or not libraries & SOCKETIO
    if layer_of(path) in {*PROTOCOL_LIBRARIES, "realtime"} and path != PRESENTATION:
        assert "type: ignore" not in path.read_text("utf-8")


@each_module
def test_the_protocol_uses_few_libraries(path: Path) -> None:
    if layer_of(path) in PROTOCOL_LIBRARIES:
        libraries = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
        assert libraries <= PROTOCOL_LIBRARIES[layer_of(path)] | {"chatserver"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def python_imports() -> dict[str, set[str]]:
    """Which module of the house imports which, those for types included."""
    names = {module_name(path): path for path in MODULES}
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        targets: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= full & names.keys() or {str(node.module)}
        found[name] = targets & names.keys() - {name}
    return found


def client_imports() -> dict[str, set[str]]:
    """Which file of the client imports which, those for types included."""
    files = {path.resolve() for path in CLIENT.rglob("*.ts*")}
    found: dict[str, set[str]] = {}
    for path in files:
        targets = {
            (path.parent / name).resolve().with_suffix(suffix)
            for name in re.findall(r'from "(\.[^"]+)\.js"', path.read_text("utf-8"))
            for suffix in (".ts", ".tsx")
        }
        found[str(path)] = {str(target) for target in targets & files}
    return found


def find_circle(imported: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, in their order; none where there is no circle."""
    cleared: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in cleared:
            for target in sorted(imported[name]):
                if circle := follow(target, [*path, name]):
                    return circle
            cleared.add(name)
        return []

    for name in sorted(imported):
        if circle := follow(name, []):
            return circle
    return []


@pytest.mark.parametrize("read", [python_imports, client_imports])
def test_nothing_is_imported_in_a_circle(read: Callable[[], dict[str, set[str]]]) -> None:
    imported = read()
    assert sum(map(len, imported.values())) > 50
    assert find_circle(imported) == []
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"d", "b"}, "d": set()}) == ["b", "c", "b"]


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
    assert docstring.splitlines()[0].endswith((".", ":", "…"))


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
