"""What was measured on: figures without it say nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from dev.program import ROOT
from dev.servers.process import find_program

#: By server, the command that tells its version.
TELLING = {
    "BIND": ("named", "-v"),
    "PowerDNS": ("pdns_server", "--version"),
    "PostgreSQL": ("psql", "--version"),
    "Redis": ("redis-server", "--version"),
}


def describe() -> dict[str, Any]:
    """The machine and the versions of all that takes part."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],  # when it began: others' work is in the figures
        "versions": {
            "Python": platform.python_version(),
            "dnsworker": _own_version(),
            "RabbitMQ": _rabbitmq_version(),
            **{name: _said(*command) for name, command in TELLING.items()},
        },
    }


def one_line(machine: dict[str, Any]) -> str:
    """What `describe` gave, for people."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, "
        f"load {machine['load']:.1f} at the start; {versions}."
    )


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _own_version() -> str:
    """With the commit, and whether something was changed since."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    git = ("git", "-C", str(ROOT))
    commit = _output(*git, "describe", "--always", "--dirty", "--exclude", "*")
    return version if commit.startswith("fatal") else f"{version} ({commit})"  # not a checkout


def _rabbitmq_version() -> str:
    """From its folder: rabbitmqctl would start Erlang for it."""
    folders = Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
    return max((path.name.partition("-")[2] for path in folders), default="unknown")


def _said(program: str, option: str) -> str:
    path = find_program(program)
    found = re.search(r"\d+(\.\d+)+[-\w.]*", _output(path, option)) if path else None
    return found[0] if found else "unknown"


def _output(*command: str) -> str:
    """Of a command that says something about itself; "" when it can't."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip()  # whatever the status: pdns_server's is 99
