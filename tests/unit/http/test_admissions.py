"""Admission of connections: a limit in all and for each address, and room for health checks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from chatserver.http.admissions import SPARE, Admissions
from chatserver.http.connections import ConnectionRunner
from chatserver.http.origins import OriginPolicy
from tests.kit.stalls import PATIENCE
from tests.unit.realtime.wire import on_both_loops

HERE = "127.0.0.1"


class Site:
    """A server with limits; its clients come from this machine."""

    def __init__(self, port: int, admissions: Admissions, refused: list[str]) -> None:
        self._port = port
        self.admissions = admissions
        self.refused = refused

    @asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection(HERE, self._port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def ask(self, path: str = "/", *headers: str) -> int:
        """The status of a request on a connection of its own; 0 when that is closed instead."""
        async with self.client() as client:
            return await client.ask(path, *headers)

    async def has_open(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.admissions) != count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, path: str = "/", *headers: str) -> int:
        lines = [f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]
        async with asyncio.timeout(PATIENCE):
            try:
                self._writer.write("\r\n".join(lines).encode())
                status = (await self._reader.readline()).split()
                return int(status[1]) if status else 0
            except ConnectionError:
                return 0

    async def rest(self) -> bytes:
        """What comes until the connection is closed."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read()
            except ConnectionError:
                return b""


async def answer(_: web.Request) -> web.Response:
    return web.Response(text="yes")


@asynccontextmanager
async def running_site(**limits: Any) -> AsyncIterator[Site]:
    refused: list[str] = []
    admissions = Admissions(on_refused=refused.append, **limits)
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = ConnectionRunner(
        app,
        handle_signals=False,
        shutdown_timeout=0.1,
        connection_options={
            "request_timeout": 2 * PATIENCE,
            "admissions": admissions,
            "access_log": None,
        },
    )
    await runner.setup()
    await web.TCPSite(runner, HERE, 0).start()
    try:
        yield Site(runner.addresses[0][1], admissions, refused)
    finally:
        await runner.cleanup()
    assert len(admissions) == 0


@on_both_loops
async def test_one_more_than_there_may_be_is_closed_unless_it_asks_for_health() -> None:
    async with running_site(most=2) as site:
        async with site.client() as first, site.client() as second:
            await site.has_open(2)
            assert await site.ask() == 0
            assert await site.ask("/healthz") == await site.ask("/readyz?exclude=x") == 200
            assert await site.ask("/healthzz") == 0
            assert await first.ask() == await second.ask() == 200
            assert site.refused == ["all", "all"]
        await site.has_open(0)
        assert await site.ask() == 200


@on_both_loops
async def test_a_health_check_beyond_the_limit_is_all_that_its_connection_may_ask() -> None:
    async with running_site(most=1) as site, site.client() as first:
        assert await first.ask() == 200
        async with site.client() as check:
            assert await check.ask("/healthz") == 200
            assert (await check.rest()).endswith(b"yes")  # and the end


@on_both_loops
async def test_one_that_says_nothing_beyond_the_limit_is_closed_soon() -> None:
    async with running_site(most=1) as site, site.client() as first:
        assert await first.ask() == 200
        async with site.client() as silent:
            assert await silent.rest() == b""  # after PROBATION, not after PATIENCE


@on_both_loops
async def test_silent_connections_beyond_the_limit_do_not_keep_a_check_out() -> None:
    async with running_site(most=1) as site, site.client() as first:
        assert await first.ask() == 200
        crowd = [await asyncio.open_connection(HERE, site._port) for _ in range(3 * SPARE)]
        assert await site.ask("/healthz") == 200
        for _, writer in crowd:
            writer.close()


@on_both_loops
async def test_an_address_has_a_limit_of_its_own() -> None:
    async with running_site(most_per_address=2, block_of=lambda _: "block") as site:
        async with site.client(), site.client() as second:
            await site.has_open(2)
            assert await site.ask() == 0
            assert await second.ask() == 200
            assert site.refused == ["address"]
        await site.has_open(0)
        assert await site.ask() == 200


@on_both_loops
async def test_behind_a_proxy_that_is_not_trusted_nobody_is_refused_for_its_address() -> None:
    limits = {"most_per_address": 1, "block_of": lambda _: "block", "is_proxy": lambda _: True}
    async with running_site(**limits) as site, site.client() as first:
        assert await first.ask() == 200
        async with site.client() as user:
            assert await user.ask("/", "X-Forwarded-For: 192.0.2.1") == 200
            await site.has_open(2)
            assert await site.ask() == 0
        await site.has_open(1)
    assert site.refused == ["address"]


@pytest.mark.parametrize(
    ("peer", "block"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:5::6", "2001:db8:1:2::/64"),
        ("127.0.0.6", ""),
        ("::1", ""),
        ("10.0.0.9", ""),
        (None, ""),
    ],
)
def test_connections_are_counted_by_who_is_a_customer(peer: str | None, block: str) -> None:
    assert OriginPolicy((), ["10.0.0.0/8"]).counted_peer(peer) == block
