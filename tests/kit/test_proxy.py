"""The proxy of the fault tests: it does what it says, or they would prove nothing."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.kit.clients import TIMEOUT
from tests.kit.proxy import Proxy, running_proxy

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    """In front of an upstream that answers each line with itself, in brackets."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"[" + line.strip() + b"]\n")
        writer.write(b"end\n")
        writer.close()

    path = tmp_path / "upstream"
    async with await asyncio.start_unix_server(answer, path), running_proxy(path) as proxy:
        yield proxy


@asynccontextmanager
async def client(proxy: Proxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(streams: Streams, line: bytes) -> bytes:
    streams[1].write(line + b"\n")
    return (await streams[0].readline()).strip()


async def test_bytes_pass_and_a_half_closed_connection_stays_half_open(proxy: Proxy) -> None:
    async with client(proxy) as streams:
        assert await ask(streams, b"a") == b"[a]"
        assert proxy.open == 1
        streams[1].write(b"x" * 60_000 + b"\n")
        streams[1].write_eof()
        assert await streams[0].read() == b"[" + b"x" * 60_000 + b"]\nend\n"
    assert proxy.accepted == 1


async def test_a_delay_holds_for_each_piece_and_not_for_each_after_the_other(
    proxy: Proxy,
) -> None:
    proxy.delay(1.5)
    async with client(proxy) as streams:
        started = time.monotonic()
        for number in range(20):
            streams[1].write(b"%d\n" % number)
            await asyncio.sleep(0.01)
        assert [(await streams[0].readline()).strip() for _ in range(20)] == [
            b"[%d]" % number for number in range(20)
        ]
        # After each other the pieces would take a minute.
        assert 3 <= time.monotonic() - started < 30


async def test_a_black_hole_holds_everything_until_it_is_healed(proxy: Proxy) -> None:
    async with client(proxy) as streams:
        assert await ask(streams, b"a") == b"[a]"
        proxy.blackhole()
        async with client(proxy) as late:
            answers = [asyncio.create_task(ask(each, b"b")) for each in (streams, late)]
            _, waiting = await asyncio.wait(answers, timeout=0.1)
            assert len(waiting) == 2
            proxy.heal()
            assert await asyncio.gather(*answers) == [b"[b]", b"[b]"]


@pytest.mark.parametrize("of_new", [True, False])
async def test_answers_are_held_until_it_is_healed(proxy: Proxy, of_new: bool) -> None:
    async with client(proxy) as streams:
        assert await ask(streams, b"a") == b"[a]"
        proxy.hold_answers(of_new=of_new)
        async with client(proxy) as late:
            answers = [asyncio.create_task(ask(each, b"b")) for each in (streams, late)]
            if not of_new:
                assert await asyncio.wait_for(answers.pop(), TIMEOUT) == b"[b]"
            _, waiting = await asyncio.wait(answers, timeout=0.1)
            assert len(waiting) == len(answers)
            proxy.heal()
            assert set(await asyncio.gather(*answers)) == {b"[b]"}


async def test_a_reset_ends_what_is_open_and_refusing_also_what_comes(proxy: Proxy) -> None:
    async with client(proxy) as streams:
        await ask(streams, b"a")
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await streams[0].read()
    async with client(proxy) as streams:
        assert await ask(streams, b"a") == b"[a]"
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            await streams[0].read()
    async with client(proxy) as streams:
        with pytest.raises(ConnectionResetError):
            await streams[0].read()
    proxy.heal()
    async with client(proxy) as streams:
        assert await ask(streams, b"a") == b"[a]"


async def test_a_cut_loses_the_answer_or_the_request_once(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            seen.append(line.strip())
            writer.write(b"ok\n")
        writer.close()

    path = tmp_path / "upstream"
    async with await asyncio.start_unix_server(note, path), running_proxy(path) as proxy:
        for cut, heard in ((proxy.cut_after(b"one"), [b"one"]), (proxy.cut_before(b"two"), [])):
            seen.clear()
            async with client(proxy) as streams:
                with pytest.raises(ConnectionResetError):
                    await ask(streams, cut.needle)
            assert cut.done.is_set()
            assert seen == heard
            async with client(proxy) as streams:
                assert await ask(streams, cut.needle) == b"ok"


async def test_an_upstream_that_is_not_there_resets_the_client(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "nothing") as proxy, client(proxy) as streams:
        with pytest.raises(ConnectionResetError):
            await streams[0].read()
