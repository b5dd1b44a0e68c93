"""Ports that are free, and stay so for whoever was given them."""

import asyncio
import socket
import subprocess
import sys

from chatserver.dev import ports
from chatserver.dev.ports import free_port


def test_nobody_else_gets_a_port_before_its_server_listens() -> None:
    """The one port that is left goes to the first who asks, and another process finds none."""
    port = free_port()
    program = (
        "from chatserver.dev import ports\n"
        f"ports._PORTS = [{port}] * 9 + [{port - 15_000}]\n"
        "print(ports.free_port())\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(found.stdout) == port - 15_000


async def test_a_server_listens_there_and_again_after_its_end() -> None:
    port = free_port()

    def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here")
        writer.close()

    for host in ("127.0.0.1", "0.0.0.0"):
        async with await asyncio.start_server(answer, host, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b"here"
            writer.close()
            await writer.wait_closed()


def test_before_it_listens_a_client_is_refused() -> None:
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", free_port())) != 0


def test_no_more_sockets_are_kept_than_a_process_has_room_for() -> None:
    for _ in range(ports._MAX_HELD + 10):
        free_port()
    assert len(ports._held) == ports._MAX_HELD
