"""Install the servers that the tests need: `python -m dev.install`, or `--check` to only look.

Only the standard library is used, because it runs before anything else is there. Debian starts a service that
it installs; that is forbidden while this runs, because the tests start private servers of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/bin", "/usr/local/bin")
#: Debian asks this program whether a service may be started; status 101 is "no".
POLICY = Path("/usr/sbin/policy-rc.d")
TIMEOUT_S = 1200


@dataclass(frozen=True)
class Need:
    """A package of Debian's, and the files that show it is there (glob patterns; a bare name is in PATH)."""

    package: str
    evidence: tuple[str, ...]

    def is_met(self) -> bool:
        return all(_exists(pattern) for pattern in self.evidence)


NEEDS = (
    Need("bind9", ("named",)),
    Need("bind9-utils", ("rndc",)),
    Need("bind9-dnsutils", ("nsupdate",)),
    Need("knot", ("knotd", "knotc")),
    Need("nsd", ("nsd", "nsd-control")),
    Need("pdns-server", ("pdns_server",)),
    Need("pdns-backend-sqlite3", ("/usr/lib/*/pdns/libgsqlite3backend.so",)),
    Need("rabbitmq-server", ("/usr/lib/rabbitmq/bin/rabbitmq-server",)),
    Need("postgresql", ("/usr/lib/postgresql/*/bin/initdb", "/usr/lib/postgresql/*/bin/postgres")),
    Need("mariadb-server", ("mariadbd", "mariadb-install-db")),
    Need("redis-server", ("redis-server",)),
    # The browser tests, and the pictures of the documentation.
    Need("chromium", ("chromium",)),
    Need("chromium-driver", ("chromedriver",)),
    Need("fonts-inter", ("/usr/share/fonts/opentype/inter/*",)),
    Need("fonts-jetbrains-mono", ("/usr/share/fonts/truetype/jetbrains-mono/*",)),
    Need("prometheus", ("promtool",)),  # the tests run its checks, never the server
)


def missing_packages() -> list[str]:
    return [need.package for need in NEEDS if not need.is_met()]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.install", description="Install the tests' servers.")
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    only_look = parser.parse_args().check
    missing = missing_packages()
    if not missing:
        return 0
    rights = None if only_look else _rights()
    if rights is None:
        print(f"missing servers; install them with: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    print(f"installing {' '.join(missing)}")
    try:
        with _no_service_starts(rights):
            _apt(rights, "update")
            _apt(rights, "install", "--yes", "--no-install-recommends", *missing)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as exc:
        print(f"apt-get failed: {exc}; do by hand: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    still = missing_packages()
    if still:
        print(f"installed, and yet not found: {' '.join(still)}", file=sys.stderr)
    return 1 if still else 0


def _exists(pattern: str) -> bool:
    if "/" in pattern:
        return bool(glob.glob(pattern))
    return bool(shutil.which(pattern) or shutil.which(pattern, path=os.pathsep.join(FOLDERS)))


def _rights() -> list[str] | None:
    """What to put before a command so that it may install; None when that can't be had without asking."""
    if not shutil.which("apt-get"):
        return None
    if os.getuid() == 0:
        return []
    if shutil.which("sudo") and not subprocess.call(
        ["sudo", "-n", "true"], stderr=subprocess.DEVNULL, timeout=10
    ):
        return ["sudo", "-n"]
    return None


def _apt(rights: list[str], *arguments: str) -> None:
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    subprocess.run([*rights, *environment, "apt-get", "-q", *arguments], check=True, timeout=TIMEOUT_S)


@contextlib.contextmanager
def _no_service_starts(rights: list[str]) -> Iterator[None]:
    if POLICY.exists():  # somebody's own: containers often have one
        yield
        return
    subprocess.run([*rights, "tee", str(POLICY)], input=b"#!/bin/sh\nexit 101\n", check=True,
                   stdout=subprocess.DEVNULL, timeout=10)  # fmt: skip
    try:
        subprocess.run([*rights, "chmod", "755", str(POLICY)], check=True, timeout=10)
        yield
    finally:
        subprocess.run([*rights, "rm", "-f", str(POLICY)], check=True, timeout=10)


if __name__ == "__main__":
    sys.exit(main())
