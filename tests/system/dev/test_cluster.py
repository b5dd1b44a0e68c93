"""`chatserver cluster`: it starts, heals, and ends without leaving anything behind."""

import asyncio
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from aiohttp import ClientSession

from chatserver.dev.demo import LANDLORD, TENANT
from chatserver.dev.ports import free_port
from tests.kit.app import SECRET
from tests.kit.balancer import find_program
from tests.kit.clients import TIMEOUT, Rest
from tests.kit.processes import START_TIMEOUT, run, started
from tests.system.dev.states import until_ready, until_state


async def unread(http: ClientSession, base_url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return (await Rest(http, base_url).call("GET", "unread-count", headers=headers)).status


async def test_two_nodes_serve_the_demo_and_one_that_is_killed_comes_back(tmp_path: Path) -> None:
    find_program("haproxy")
    data_dir, port = tmp_path / "data", free_port()
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    arguments = ("--nodes", "2", "--data-dir", str(data_dir))
    async with (
        started("cluster", port, tmp_path, *arguments, jwt__secret_file=secret) as cluster,
        ClientSession() as http,
    ):
        state = await until_state(data_dir, lambda _: True)
        assert not (data_dir / "cluster.secret").exists()
        assert stat.S_IMODE((data_dir / "cluster.json").stat().st_mode) == 0o600
        assert state["base_url"] == f"http://127.0.0.1:{port}"
        urls = [node["url"] for node in state["nodes"]]
        assert len(set(urls)) == 2
        # The two of the demo are on different nodes, and each sees the page there.
        assert state["links"]["tenant"].startswith(f"{urls[0]}/#token=")
        assert state["links"]["landlord"].startswith(f"{urls[1]}/#token=")
        for url in (*urls, state["base_url"]):
            await until_ready(http, url)
            for user in (TENANT, LANDLORD):
                assert await unread(http, url, state["tokens"][str(user.id)]) == 200
        began = psutil.Process(cluster.process.pid).children(recursive=True)

        pid = state["nodes"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        for _ in range(10):
            token = state["tokens"][str(TENANT.id)]
            assert await unread(http, state["base_url"], token) == 200
        healed = await until_state(
            data_dir, lambda state: state["nodes"][0]["pid"] not in (pid, None)
        )
        assert [node["url"] for node in healed["nodes"]] == urls
        await until_ready(http, urls[0])

        began += psutil.Process(cluster.process.pid).children(recursive=True)
        cluster.terminate()
        assert await asyncio.to_thread(cluster.process.wait, START_TIMEOUT) == 0
    assert cluster.log.count(" draining ") == 2
    _, alive = psutil.wait_procs(set(began), TIMEOUT)
    assert alive == []


async def test_a_killed_cluster_takes_all_its_processes_with_it(tmp_path: Path) -> None:
    data_dir, port = tmp_path / "data", free_port()
    arguments = ("--nodes", "1", "--data-dir", str(data_dir))
    find_program("haproxy")
    async with started("cluster", port, tmp_path, *arguments) as cluster:
        children = psutil.Process(cluster.process.pid).children(recursive=True)
        assert {"haproxy", "postgres", "redis-server"} <= {child.name() for child in children}
        cluster.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, START_TIMEOUT)
    assert alive == []


async def test_without_haproxy_the_nodes_serve_alone(tmp_path: Path) -> None:
    """And `SIGINT`, Ctrl+C, ends them as well."""
    data_dir, port = tmp_path / "data", free_port()
    async with ClientSession() as http:
        arguments = ("--nodes", "2", "--data-dir", str(data_dir))
        code = (
            "import chatserver.dev.cluster as c; c.find_haproxy = lambda: None;"
            "from chatserver.cli import main; main()"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, "cluster", "--port", str(port), *arguments),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            state = await until_state(data_dir, lambda _: True)
            urls = [node["url"] for node in state["nodes"]]
            assert state["base_url"] == urls[0]
            assert state["balancer"] is None
            for url in urls:
                await until_ready(http, url)
            process.send_signal(signal.SIGINT)
            said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    assert "There is no load balancer: haproxy is not on the PATH" in said.decode()
    assert all(url in said.decode() for url in urls)


def test_a_port_that_is_taken_stops_the_start_with_one_clear_line(tmp_path: Path) -> None:
    find_program("haproxy")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("cluster", "--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"chatserver: cannot listen on 127.0.0.1:{port}: address already in use\n"


def test_a_setting_that_is_wrong_stops_the_start_with_one_clear_line(tmp_path: Path) -> None:
    done = run(
        *("cluster", "--port", str(free_port()), "--data-dir", str(tmp_path / "data")),
        rate_limit__messages="many",
    )
    assert done.returncode == 1
    assert done.stderr == (
        "chatserver: rate_limit.messages must look like 60/minute, or be empty\n"
    )
