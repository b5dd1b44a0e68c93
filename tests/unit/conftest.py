"""Unit tests: no process, no database, and no loop that another test has used."""

import inspect
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(name: str, obj: Any) -> None:
    """Give every test a loop of its own, where the other levels share one in a module.

    Its fixtures have to ask for the same: `@pytest_asyncio.fixture(loop_scope="function")`.
    """
    if name.startswith("test") and inspect.iscoroutinefunction(obj):
        pytest.mark.asyncio(loop_scope="function")(obj)
