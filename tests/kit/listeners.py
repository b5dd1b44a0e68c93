"""Listening sockets in this process, and how they end without losing a connection."""

import asyncio


async def stop_accepting(server: asyncio.Server) -> None:
    """Let everything that was accepted become a connection of `server`, and accept no more.

    To be called before it is closed: Python 3.11 leaks a connection that it has accepted
    in the same turn of the loop, and warns of it in whichever test runs then.
    """
    loop = asyncio.get_running_loop()
    for listener in server.sockets:
        loop.remove_reader(listener.fileno())
    for _ in range(2):
        await asyncio.sleep(0)
