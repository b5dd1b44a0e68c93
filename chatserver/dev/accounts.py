"""Account that PostgreSQL runs under: it refuses to run as root."""

import os
import pwd
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = 0
# Lets an unprivileged process pass through directories that are closed to it. The
# first is the weaker one; containers often have only the second. Number: its bit in
# the kernel's masks.
_PASSING_CAPABILITIES = {"dac_read_search": 2, "dac_override": 1}


class AccountError(Exception):
    """PostgreSQL cannot run here under any account; the message is one clear line."""


@dataclass(frozen=True, slots=True)
class Account:
    """Account that starts PostgreSQL's programs: put `prefix` before the command.

    `uid` and `gid` own its files; both are None where that is the caller.
    """

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Make `path` the account's, closed to everybody else."""
        path.chmod(0o700 if path.is_dir() else 0o600)
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def choose_account(cluster: Path, programs: Path) -> Account:
    """The account for the files in `cluster`: the caller, or for root an ordinary one.

    Root keeps the owner of an existing cluster and gives a new one to `nobody`.
    Where a directory above `cluster` or `programs` is closed (/root, a private
    temporary folder), the programs get the one capability that lets them pass
    through; permissions of directories that are not ours stay as they are.
    Raises AccountError.
    """
    caller, owner = os.geteuid(), _owner(cluster)
    if caller != ROOT:
        if owner not in (None, caller):
            raise AccountError(
                f"{cluster} belongs to another user ({_name(owner)}): "
                "run as that user, or choose another data directory"
            )
        return Account()
    uid, gid = _ordinary(cluster)
    return Account(_prefix(uid, gid, _closed((cluster, programs))), uid, gid)


def _owner(path: Path) -> int | None:
    return path.stat().st_uid if path.exists() else None


def _ordinary(cluster: Path) -> tuple[int, int]:
    if cluster.exists() and (found := cluster.stat()).st_uid != ROOT:
        return found.st_uid, found.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or ROOT).pw_name
    except KeyError:
        return str(uid)


def _closed(paths: Iterable[Path]) -> Path | None:
    """The first directory above `paths` that strangers cannot pass through."""
    for path in paths:
        for parent in reversed(path.resolve().parents):
            if not parent.stat().st_mode & 0o001:
                return parent
    return None


def _prefix(uid: int, gid: int, closed: Path | None) -> tuple[str, ...]:
    setpriv = shutil.which("setpriv", path=os.environ.get("PATH", os.defpath) + ":/usr/bin:/bin")
    if setpriv is None:
        raise AccountError(
            "PostgreSQL does not run as root, and the program setpriv (util-linux) is missing: "
            "install it, or run as another user"
        )
    command = [setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    return (*command, *_capability(closed), "--")


def _capability(closed: Path | None) -> Sequence[str]:
    if closed is None:
        return ()
    held = _held_capabilities()
    for name, bit in _PASSING_CAPABILITIES.items():
        if held >> bit & 1:
            # Without the secure bit, access(2), by which initdb looks for postgres,
            # asks as if the capability were not there.
            return (
                "--securebits=+no_setuid_fixup",
                f"--inh-caps=+{name}",
                f"--ambient-caps=+{name}",
            )
    raise AccountError(
        f"PostgreSQL does not run as root, and {closed} is closed to other users: "
        "run as another user, or move the project and its data elsewhere"
    )


def _held_capabilities() -> int:
    """The bits that this process may pass on; 0 where there is no such thing."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields.get("CapPrm", "0"), 16) & int(fields.get("CapBnd", "0"), 16)
