"""Free ports of this machine, for servers that keep theirs over restarts."""

import os
import secrets
import socket
from collections import deque
from typing import Final

# Below the kernel's ephemeral ports: a client that keeps trying to reconnect to one
# of those on this machine may at last be connected to itself.
_PORTS: Final = range(20_000, 32_000)

_MAX_HELD: Final = 250
_held: deque[int] = deque()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has and, as long as this process runs, nobody else gets.

    So two who ask at a time have two, and a server finds its port free again after a
    restart. It can listen there if it sets SO_REUSEADDR, which servers do. Of more than
    250 ports, the first are given away again.
    """
    while True:
        port = secrets.choice(_PORTS)
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        # Only now: before, it would have been given a port that another holds.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held.append(holder.detach())  # nobody is to close it when the process ends
        if len(_held) > _MAX_HELD:
            os.close(_held.popleft())
        return port
