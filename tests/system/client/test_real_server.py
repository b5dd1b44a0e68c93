"""The TypeScript client against the real server: its own tests, with a server to talk to."""

import subprocess
from pathlib import Path

from chatserver.dev.node import find_node
from chatserver.dev.ports import free_port
from tests.kit.processes import started

CLIENT = Path(__file__).parents[3] / "client"
TIMEOUT = 280.0


async def test_two_people_chat_by_the_client_on_the_real_server(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    node = find_node()
    async with started("dev", free_port(), tmp_path, "--data-dir", str(data_dir)):
        done = subprocess.run(  # noqa: ASYNC221 -- nothing else runs in this loop
            [*node.npm_command, "exec", "--", "vitest", "run", "test/real_server.test.ts"],
            cwd=CLIENT,
            env=node.environment() | {"CHAT_DEV_JSON": str(data_dir / "dev.json"), "CI": "true"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
