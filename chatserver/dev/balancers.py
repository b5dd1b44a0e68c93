"""A load balancer in front of nodes on this machine, from the configuration that we ship."""

import re
import shutil
from collections.abc import Sequence

from chatserver.settings import config_directory

_SERVER = re.compile(r"^( +server )(?:(chat)\d+ )?\S+:\d+(.*)\n", re.MULTILINE)
_ACCOUNT = re.compile(r"^ +(user|group) \w+\n", re.MULTILINE)
_LISTENING = re.compile(r"^( +)(bind |listen )\S+?(;?)$", re.MULTILINE)


def find_haproxy() -> str | None:
    """The program, on the PATH or where Debian puts it for root; None where there is none."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")


def haproxy_config(port: int, nodes: Sequence[int]) -> str:
    """config/haproxy.cfg, for nodes on these ports of 127.0.0.1, listening on `port` there."""
    return render((config_directory() / "haproxy.cfg").read_text("utf-8"), port, nodes)


def render(text: str, port: int, nodes: Sequence[int]) -> str:
    """`text` with its addresses replaced, for whoever we run as, and nothing else changed.

    The first server line of each group is the pattern of all of them.
    """
    text = _ACCOUNT.sub("", text)
    text = _LISTENING.sub(rf"\g<1>\g<2>127.0.0.1:{port}\g<3>", text, count=1)
    groups = re.split(r"((?:^ +server (?!\{).+\n)+)", text, flags=re.MULTILINE)
    return "".join(_servers(group, nodes) if _SERVER.match(group) else group for group in groups)


def _servers(group: str, nodes: Sequence[int]) -> str:
    first = _SERVER.match(group)
    assert first is not None
    head, name, rest = first.groups()
    return "".join(
        f"{head}{f'{name}{number} ' if name else ''}127.0.0.1:{port}{_numbered(rest, number)}\n"
        for number, port in enumerate(nodes, 1)
    )


def _numbered(rest: str, number: int) -> str:
    """The options of a server, which name it too: `cookie chat1 track nodes/chat1`."""
    return re.sub(r"\bchat1\b", f"chat{number}", rest)
