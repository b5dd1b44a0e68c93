"""A real Redis for tests: one server, a Cluster, a Sentinel group, one behind TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis

from chatserver.dev.redis import EmbeddedRedis, EmbeddedRedisError
from tests.kit.stalls import PATIENCE

SLOTS = 16384
FORMED = PATIENCE
"""Seconds that a Cluster or a Sentinel group may take to find together."""


@asynccontextmanager
async def redis_client(server: EmbeddedRedis) -> AsyncIterator["Redis"]:
    """A client of the test's own, to look at what is there."""
    client: Redis = Redis.from_url(server.url)
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def running_redis_cluster() -> AsyncIterator[list[EmbeddedRedis]]:
    """A Cluster of three masters, which all agree."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(_cluster_node()) for _ in range(3)]
        clients = [await stack.enter_async_context(redis_client(server)) for server in servers]
        for number, client in enumerate(clients):
            slots = range(SLOTS * number // 3, SLOTS * (number + 1) // 3)
            await command(client, "CLUSTER ADDSLOTS", *slots)
            for server in servers:
                await command(client, "CLUSTER MEET", "127.0.0.1", server.port)
        for client in clients:
            await _until(client, "CLUSTER INFO", lambda info: b"cluster_state:ok" in info)
        yield servers


def _cluster_node() -> EmbeddedRedis:
    """One that is started. It listens on its port + 10000 too, which may be taken."""
    while True:
        server = EmbeddedRedis({"cluster-enabled": "yes"})
        try:
            server.start()
        except EmbeddedRedisError as error:
            if "(cluster)" not in str(error):
                raise
        else:
            return server


@dataclass(frozen=True)
class SentinelGroup:
    """A master, its replica, and the Sentinel that watches both.

    It suspects nobody before `kill_master`: a machine that stands still is no failure.
    """

    name: str
    master: EmbeddedRedis
    replica: EmbeddedRedis
    sentinel: EmbeddedRedis

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/0/{self.name}"

    async def kill_master(self) -> None:
        """The Sentinel makes the replica the master half a second after that."""
        self.master.kill()
        async with redis_client(self.sentinel) as client:
            await command(client, "SENTINEL SET", self.name, "down-after-milliseconds", 500)


@asynccontextmanager
async def running_sentinel_group() -> AsyncIterator[SentinelGroup]:
    """One Sentinel, and it has found the replica."""
    name = "mymaster"
    async with EmbeddedRedis() as master, AsyncExitStack() as stack:
        replica = await stack.enter_async_context(
            EmbeddedRedis({"replicaof": ("127.0.0.1", str(master.port))})
        )
        sentinel = await stack.enter_async_context(EmbeddedRedis(is_sentinel=True))
        async with redis_client(sentinel) as client:
            await command(client, "SENTINEL MONITOR", name, "127.0.0.1", master.port, 1)
            for option, value in (("down-after-milliseconds", 60_000), ("failover-timeout", 3000)):
                await command(client, "SENTINEL SET", name, option, value)
            await _until(client, f"SENTINEL REPLICAS {name}", bool)
        yield SentinelGroup(name, master, replica, sentinel)


async def command(client: "Redis", words: str, *arguments: Any) -> Any:
    """The answer to any command; redis-py's own method for it has no types."""
    client_of_any: Any = client
    return await client_of_any.execute_command(*words.split(), *arguments)


async def _until(client: "Redis", words: str, wanted: Callable[[Any], bool]) -> None:
    async with asyncio.timeout(FORMED):
        while not wanted(await command(client, words)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@dataclass(frozen=True)
class TlsRedis:
    """A Redis that is reached by TLS alone."""

    port: int
    certificate: Path

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.port}?ssl_ca_certs={self.certificate}"


@asynccontextmanager
async def running_tls_redis(directory: Path) -> AsyncIterator[TlsRedis]:
    """A Redis behind a TLS endpoint with a certificate for 127.0.0.1 that is its own CA.

    Not every build of Redis has TLS; to the client it makes no difference.
    """
    certificate, key = _make_certificate(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with EmbeddedRedis() as redis:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", redis.port)
            pipes = [
                asyncio.create_task(_pipe(reader, inner_writer)),
                asyncio.create_task(_pipe(inner_reader, writer)),
            ]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for pipe in pipes:
                pipe.cancel()
            for each in (writer, inner_writer):
                each.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        try:
            yield TlsRedis(server.sockets[0].getsockname()[1], certificate)
        finally:
            server.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def _make_certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
