"""What a shipped configuration becomes: other addresses and our account, and no more."""

import difflib
import re

import pytest

from chatserver.dev.balancers import render
from chatserver.settings import config_directory

REPLACED = re.compile(r"\s*(server|bind|listen|user|group) ")


@pytest.mark.parametrize(("name", "groups"), [("haproxy.cfg", 3), ("nginx.conf", 2)])
@pytest.mark.parametrize("nodes", [[4001], [4001, 4002, 4003, 4004, 4005]], ids=len)
def test_only_addresses_and_the_account_change(name: str, groups: int, nodes: list[int]) -> None:
    shipped = (config_directory() / name).read_text("utf-8")
    rendered = render(shipped, 9000, nodes)
    changes = difflib.ndiff(shipped.splitlines(), rendered.splitlines())
    changed = [line[2:] for line in changes if line[0] in "+-"]
    assert all(REPLACED.match(line) for line in changed)
    # Each node is in every group, and nobody else is.
    assert sorted(re.findall(r"^ +server .*?127\.0\.0\.1:(\d+)", rendered, re.MULTILINE)) == sorted(
        str(port) for port in nodes * groups
    )
    assert re.findall(r"^ +(?:bind|listen) (.*?);?$", rendered, re.MULTILINE) == ["127.0.0.1:9000"]


def test_a_node_has_one_name_in_all_lines_about_it() -> None:
    text = render((config_directory() / "haproxy.cfg").read_text("utf-8"), 9000, [4001, 4002])
    assert re.findall(r"server chat2 .*", text) == [
        "server chat2 127.0.0.1:4002 check",
        "server chat2 127.0.0.1:4002 cookie chat2 track nodes/chat2",
        "server chat2 127.0.0.1:4002 cookie chat2 check",
    ]
