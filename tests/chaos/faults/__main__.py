"""`python -m tests.chaos.faults [--write] [--budgets] [pytest's options]`: all faults, and a table.

`--budgets`: with the budgets of users and addresses on.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chaos.faults.records import FILE, read, table, write
from tests.chaos.faults.sites import BUDGETS

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "reliability.md"


def main(arguments: list[str]) -> int:
    """The exit code of pytest. With `--write` the page gets the table, if all passed."""
    is_writing = "--write" in arguments
    budgets = {BUDGETS: "on"} if "--budgets" in arguments else {}
    options = [each for each in arguments if each not in ("--write", "--budgets")]
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "records"
        file.touch()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(HERE), *options]
        env = {**os.environ, **budgets, FILE: str(file)}
        code = subprocess.run(command, env=env, check=False).returncode
        records = read(file)
    print(table(records))
    if is_writing and code == 0:
        write(PAGE, records)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
