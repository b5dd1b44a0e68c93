"""Unit tests: no process, no database, and no loop that another test has used.

Every test and its fixtures have a loop of their own, where the other levels share one in a
module: some leave a task behind on purpose, and virtual time begins anew.
"""

import inspect
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(name: str, obj: Any) -> None:
    if name.startswith("test") and inspect.iscoroutinefunction(obj):
        pytest.mark.asyncio(loop_scope="function")(obj)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
    function: Any = getattr(fixturedef.func, "__func__", fixturedef.func)
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
        # As `@pytest_asyncio.fixture(loop_scope="function")`, which would have to stand at each.
        function._loop_scope = "function"
    return (yield)
