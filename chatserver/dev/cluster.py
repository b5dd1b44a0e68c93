"""`chatserver cluster`: several nodes on this machine, and a load balancer before them."""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import click
from aiohttp import ClientError, ClientSession

from chatserver.app import StartError
from chatserver.dev.balancers import find_haproxy, haproxy_config
from chatserver.dev.demo import LANDLORD, TENANT, prepare_demo
from chatserver.dev.manifests import chat_link, describe, write_manifest, write_private
from chatserver.dev.ports import free_port
from chatserver.dev.postgres import EmbeddedPostgres, EmbeddedPostgresError
from chatserver.dev.programs import Program
from chatserver.dev.redis import EmbeddedRedis, EmbeddedRedisError
from chatserver.dev.server import DATABASE
from chatserver.serving import RESERVE
from chatserver.settings import Settings
from chatserver.settings.section import PREFIX
from chatserver.settings.sources import FILE_SUFFIX
from chatserver.telemetry import logs

HOST: Final = "127.0.0.1"
START_TIMEOUT: Final = 60.0
BALANCER_PATIENCE: Final = 5.0


@dataclass
class Cluster:
    """Running servers, and what the manifest tells about them; the first node has number 1."""

    settings: Settings
    data_dir: Path
    port: int
    database_url: str
    redis_url: str
    conversation_id: UUID
    node_ports: Sequence[int]
    nodes: list[Program] = field(default_factory=list)
    balancer: Program | None = None

    @property
    def node_urls(self) -> list[str]:
        return [f"http://{HOST}:{port}" for port in self.node_ports]

    @property
    def base_url(self) -> str:
        """The balancer's; without one, the first node's."""
        return self.node_urls[0] if self.balancer is None else f"http://{HOST}:{self.port}"

    def write_manifest(self) -> None:
        write_manifest(self.data_dir / "cluster.json", self.state())

    def state(self) -> dict[str, Any]:
        """The links are of two people on different nodes, if there are two."""
        state = describe(self.settings.jwt, self.base_url, self.database_url, self.conversation_id)
        urls = self.node_urls
        return {
            **state,
            "redis_url": self.redis_url,
            "nodes": [
                {"url": url, "pid": node.pid} for url, node in zip(urls, self.nodes, strict=True)
            ],
            "balancer": None if self.balancer is None else {"pid": self.balancer.pid},
            "links": {
                "tenant": chat_link(urls[0], state, TENANT),
                "landlord": chat_link(urls[1 % len(urls)], state, LANDLORD),
                "tenant_balanced": chat_link(self.base_url, state, TENANT),
                "landlord_balanced": chat_link(self.base_url, state, LANDLORD),
            },
        }


async def run_cluster(nodes: int, port: int, data_dir: Path) -> None:
    """Run so many nodes, with HAProxy on 127.0.0.1:`port` where there is one.

    Until SIGTERM or SIGINT; then all end in order: nodes, balancer, Redis, PostgreSQL.
    A node that dies is started again. The data stays in `data_dir`, which is that of
    `chatserver dev` too; `data_dir`/cluster.json tells what runs where.
    Raises StartError.
    """
    await asyncio.to_thread(data_dir.mkdir, parents=True, exist_ok=True)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.create_task(_run(nodes, port, data_dir))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    click.echo("The cluster has stopped.", err=True)


async def _run(count: int, port: int, data_dir: Path) -> None:
    haproxy = find_haproxy()
    if haproxy is not None:
        _check_free(port)
    postgres = EmbeddedPostgres(
        data_dir / "postgres", tcp=True, options={"max_connections": str(30 + 15 * count)}
    )
    try:
        async with postgres, EmbeddedRedis() as redis:
            await postgres.create_database(DATABASE)
            settings = _settings(postgres.url(DATABASE), redis.url, data_dir)
            logs.configure(settings.logging)
            cluster = Cluster(
                settings=settings,
                data_dir=data_dir,
                port=port,
                database_url=postgres.tcp_url(DATABASE).replace("+asyncpg", ""),
                redis_url=redis.url,
                conversation_id=await prepare_demo(settings),
                node_ports=[free_port() for _ in range(count)],
            )
            async with _running_nodes(cluster), _running_balancer(cluster, haproxy):
                await _watch(cluster)
    except (EmbeddedPostgresError, EmbeddedRedisError) as error:
        raise StartError(str(error)) from error


def _check_free(port: int) -> None:
    """HAProxy would share the port with another one, and say nothing."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise StartError(f"cannot listen on {HOST}:{port}: {why}") from error


def _settings(database_url: str, redis_url: str, data_dir: Path) -> Settings:
    """Settings of production, of which the environment may change all but the addresses."""
    overrides: dict[str, Any] = {
        "database.url": database_url,
        "redis.url": redis_url,
        "server.host": HOST,
        "server.trusted_proxies": [HOST],
        "logging.format": os.environ.get("CHAT_LOGGING_FORMAT", "console"),
    }
    if not any(os.environ.get(f"CHAT_JWT_SECRET{end}") for end in ("", FILE_SUFFIX)):
        overrides["jwt.secret"] = _secret(data_dir)
    return Settings.load("production", overrides=overrides)


def _secret(data_dir: Path) -> str:
    """Made once, so that a token outlives a restart."""
    path = data_dir / "cluster.secret"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48).encode())
    return path.read_text()


@asynccontextmanager
async def _running_nodes(cluster: Cluster) -> AsyncIterator[None]:
    """All of them, ready."""
    server = cluster.settings.server
    for number, port in enumerate(cluster.node_ports, 1):
        command = ("serve", "--host", HOST, "--port", str(port))
        cluster.nodes.append(
            Program(
                f"node{number}",
                [sys.executable, "-m", "chatserver", *command],
                _environment(cluster.settings),
            )
        )
    try:
        for node in cluster.nodes:
            await node.start()
        for node, url in zip(cluster.nodes, cluster.node_urls, strict=True):
            await _wait_ready(node, url)
        yield
    finally:
        patience = server.drain_delay + server.shutdown_grace + RESERVE + 2.0
        await asyncio.gather(*(node.stop(patience) for node in cluster.nodes))


def _environment(settings: Settings) -> dict[str, str]:
    """Ours, with what the nodes have in common; secrets stand in no file any more."""
    return {
        **{name: text for name, text in os.environ.items() if not _is_file_of_ours(name)},
        "CHAT_DATABASE_URL": settings.database.url,
        "CHAT_REDIS_URL": settings.redis.url,
        "CHAT_JWT_SECRET": settings.jwt.secret,
        "CHAT_SERVER_TRUSTED_PROXIES": ",".join(settings.server.trusted_proxies),
        # On one machine each would need another port; here they are for this machine anyway.
        "CHAT_SERVER_INTERNAL_PORT": "0",
        "CHAT_SERVER_PUBLIC_METRICS": "true",
        "CHAT_SERVER_WEB_ROOT": settings.server.web_root,
        "CHAT_LOGGING_FORMAT": settings.logging.format,
        "PYTHONUNBUFFERED": "1",
    }


def _is_file_of_ours(name: str) -> bool:
    return name.startswith(PREFIX) and name.endswith(FILE_SUFFIX)


@asynccontextmanager
async def _running_balancer(cluster: Cluster, haproxy: str | None) -> AsyncIterator[None]:
    """HAProxy with the configuration that is shipped; nothing where there is no HAProxy."""
    if haproxy is None:
        yield
        return
    config = cluster.data_dir / "cluster-haproxy.cfg"
    config.write_text(haproxy_config(cluster.port, cluster.node_ports))
    # Its access log would drown what the nodes say.
    with (cluster.data_dir / "cluster-haproxy.log").open("w", buffering=1) as log:
        balancer = Program(
            "haproxy",
            # Fewer connections than it is meant for: the limit of open files may be low here.
            [haproxy, "-db", "-n", "1000", "-f", str(config)],
            os.environ,
            tell=lambda line: print(line, file=log),
        )
        cluster.balancer = balancer
        try:
            await balancer.start()
            await _wait_ready(balancer, cluster.base_url)
            yield
        finally:
            await balancer.stop(BALANCER_PATIENCE)


async def _wait_ready(program: Program, base_url: str) -> None:
    """Raises StartError when it ends instead, or takes a minute."""
    try:
        async with asyncio.timeout(START_TIMEOUT), ClientSession() as http:
            while not await _is_ready(http, base_url):
                if program.pid is None:
                    raise StartError(f"{program.name} did not start: {program.last_line}")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise StartError(f"{program.name} was not ready in {START_TIMEOUT:.0f} s") from None


async def _is_ready(http: ClientSession, base_url: str) -> bool:
    try:
        async with http.get(f"{base_url}/readyz") as response:
            return response.status == 200
    except ClientError:
        return False


async def _watch(cluster: Cluster) -> None:
    """Tell what runs, and start again what dies; until this is cancelled."""
    cluster.write_manifest()
    _greet(cluster)
    programs = [*cluster.nodes, *([cluster.balancer] if cluster.balancer else [])]
    async with asyncio.TaskGroup() as watching:
        for program in programs:
            watching.create_task(program.keep_running(cluster.write_manifest))


def _greet(cluster: Cluster) -> None:
    state = cluster.state()
    links = state["links"]
    if cluster.balancer is None:
        head = "There is no load balancer: haproxy is not on the PATH. The nodes alone are ready"
    else:
        head = f"The cluster is ready at {cluster.base_url}"
    nodes = "\n".join(
        f"  node{number}   {node['url']}   process {node['pid']}"
        for number, node in enumerate(state["nodes"], 1)
    )
    click.echo(
        f"\n{head}\n\n{nodes}\n\n"
        "Open both in two windows and chat, each on a node of its own:\n"
        f"  {TENANT.first_name}, the tenant:\n    {links['tenant']}\n"
        f"  {LANDLORD.first_name}, the landlord:\n    {links['landlord']}\n\n"
        f"  Everybody's link and token: {cluster.data_dir / 'cluster.json'}\n\n"
        "kill -9 a node, and it comes back. Stop with Ctrl+C; the data stays.\n"
    )
