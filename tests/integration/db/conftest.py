"""Databases that the tests of the engine and of the migrations may break."""

import pytest


@pytest.fixture
def database_url(own_database_url: str) -> str:
    return own_database_url
