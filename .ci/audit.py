"""Asks for known vulnerabilities of the versions in constraints.txt.

Fails on a vulnerability, and where it cannot be asked: the advisory service is out of
reach, or knows none of the packages (a mirror without advisories). With AUDIT=offline in
the environment it says that it was not done, and passes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

UNREACHABLE = ("requests.exceptions.", "Could not connect", "ServiceError")
COMMAND = (
    *("pip-audit", "--requirement", "constraints.txt", "--no-deps", "--disable-pip"),
    *("--format", "json", "--progress-spinner", "off", "--timeout", "15"),
)


def main() -> None:
    program = Path(sys.executable).parent / COMMAND[0]
    done = subprocess.run(  # noqa: S603
        [program, *COMMAND[1:]], capture_output=True, text=True, check=False
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        if any(words in done.stderr for words in UNREACHABLE):
            not_done("the advisory service cannot be reached")
        else:
            sys.exit(f"audit: failed\n{done.stderr}")
    else:
        report(packages)


def report(packages: list[dict[str, object]]) -> None:
    asked = [package for package in packages if "vulns" in package]
    bad = [package for package in asked if package["vulns"]]
    for package in bad:
        print(json.dumps(package, indent=2))
    if bad:
        sys.exit(f"audit: {len(bad)} of {len(asked)} packages have known vulnerabilities")
    if not asked:
        not_done("the advisory service knows none of the packages")
    else:
        print(f"audit: no known vulnerability in {len(asked)} of {len(packages)} packages")


def not_done(reason: str) -> None:
    if os.environ.get("AUDIT") != "offline":
        sys.exit(f"audit: NOT DONE, {reason} (AUDIT=offline lets that pass)")
    print(f"audit: NOT DONE, {reason}")


main()
