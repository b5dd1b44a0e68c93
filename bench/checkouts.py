"""Checkouts of this repository: another commit's beside ours, with the packages of one .venv."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.databases import fill, make_anew
from chatserver.dev.postgres import EmbeddedPostgres

PEOPLE = (
    "import json; from bench.databases import PRODUCT_PEOPLE; print(json.dumps(PRODUCT_PEOPLE))"
)
WHERE = "import chatserver; print(chatserver.__file__)"


class CheckoutError(Exception):
    """There is no such commit, or its code does not run; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The files of one version of the server. `title` is what tables call it."""

    title: str
    root: Path

    def python(self, *arguments: str, **environment: str) -> str:
        """Run Python with the code of this checkout; return its output. Raises CheckoutError."""
        inherited = {name: value for name, value in os.environ.items() if name[:5] != "CHAT_"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["no output"]
            raise CheckoutError(f"{self.title}: {lines[-1]}")
        return done.stdout.strip()

    def check(self) -> None:
        """Raises CheckoutError unless it is this checkout's server that would be measured."""
        found = Path(self.python("-c", WHERE))
        if not found.is_relative_to(self.root):
            raise CheckoutError(f"{self.title}: its server would be {found}")

    async def make_database(self, server: EmbeddedPostgres, name: str, pairs: int) -> str:
        """A new database with this checkout's schema, and `pairs` conversations; its URL."""
        await make_anew(server, name)
        url = server.tcp_url(name)
        # No token is ever checked; a secret has to be there.
        secret = "3nk2xq9wz4vb8hm1rt7jc0gd6yp5slfu"
        migrate = ("-m", "chatserver", "migrate")
        await asyncio.to_thread(
            lambda: self.python(*migrate, CHAT_DATABASE_URL=url, CHAT_JWT_SECRET=secret)
        )
        people = await asyncio.to_thread(self.python, "-c", PEOPLE)
        await fill(server, name, tuple(json.loads(people)), pairs)
        return url


def known_settings(root: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return those of `wanted` that the checkout in `root` knows; others stop its start.

    Every setting has its default in config/base.toml, `[section] key` for CHAT_SECTION_KEY.
    """
    sections = tomllib.loads((root / "config" / "base.toml").read_text("utf-8"))
    known = {f"CHAT_{section}_{key}".upper() for section in sections for key in sections[section]}
    return {name: value for name, value in wanted.items() if name in known}


@contextlib.contextmanager
def checked_out(repository: Path, commit: str, directory: Path) -> Iterator[Checkout]:
    """`commit` as a git worktree in `directory`, until the block ends. Raises CheckoutError."""
    name = _git(repository, "rev-parse", "--short", "--verify", f"{commit}^{{commit}}")
    root = directory / f"checkout-{name}"
    _git(repository, "worktree", "add", "--detach", str(root), name)
    try:
        checkout = Checkout(name, root)
        checkout.check()
        yield checkout
    finally:
        _git(repository, "worktree", "remove", "--force", str(root))


def ours(repository: Path) -> Checkout:
    """The checkout as it is, with what is not committed."""
    name = _git(repository, "rev-parse", "--short", "HEAD")
    changed = _git(repository, "status", "--porcelain", "--untracked-files=no")
    return Checkout(f"{name} and changes" if changed else name, repository)


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=repository, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise CheckoutError(f"git {arguments[0]}: {lines[-1]}")
    return done.stdout.strip()
