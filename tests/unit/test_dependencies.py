"""What the code imports: declared in the extra that brings it, and not loaded before it is used."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import dnsworker

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"backends", "bench", "celeryconfig", "chaos", "dev", "dnsworker", "migrations", "tasks", "tests"}
#: pydantic's other parts: some of its words are to be had there only.
PARTS = {"pydantic-core": "pydantic", "typing-extensions": "pydantic"}

#: Path -> the extras that are there when it is imported; the longest prefix that fits.
EXTRAS: dict[str, tuple[str, ...]] = {
    "dnsworker": ("database",),
    "dnsworker/dashboard": ("dashboard",),
    "dnsworker/database.py": ("worker",),  # its `upgrade` works in a checkout only
    "dnsworker/mariadb.py": ("mariadb",),
    "dnsworker/monitoring": ("worker",),
    "dnsworker/testing": ("testing",),
    "dnsworker/tracing": ("otel",),
    "tasks": ("worker",),
    "backends": ("worker",),
    # What is known of single providers is asked only where they are installed.
    "backends/octodns": ("worker", "octodns", "dev"),
    "migrations": ("worker",),
    "celeryconfig.py": ("worker",),
    "dev": ("dev",),
    "bench": ("dev",),
    "chaos": ("dev",),
    "tests": ("dev",),
    "tests/fuzz/__main__.py": ("dev", "fuzz"),
}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared(extra: str | None = None) -> set[str]:
    """Distributions that are installed with an extra (with none: the plain package)."""
    found = {_normal(re.split(r"[^\w.-]", line)[0]) for line in PROJECT["dependencies"]}
    for line in PROJECT["optional-dependencies"][extra] if extra else ():
        if match := re.match(r"dnsworker\[(.+)\]", line):
            for other in match[1].split(","):
                found |= _declared(other)
        else:
            found.add(_normal(re.split(r"[^\w.-]", line)[0]))
    return found


def _imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, those of the standard library and ours left out."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names} - OURS - set(sys.stdlib_module_names)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """By top-level package; to find out means to read a file of everything that is installed."""
    return packages_distributions()


@pytest.mark.parametrize("where", EXTRAS)
def test_every_import_is_declared(where: str) -> None:
    declared = set().union(*(_declared(extra) for extra in EXTRAS[where]))
    distributions = _distributions()
    files = [ROOT / where] if where.endswith(".py") else sorted((ROOT / where).rglob("*.py"))
    assert files
    missing = {}
    for path in files:
        within = [other for other in EXTRAS if path.is_relative_to(ROOT / other)]
        if max(within, key=len) != where:
            continue
        for name in _imported(path):
            candidates = {PARTS.get(_normal(each), _normal(each)) for each in distributions.get(name, [name])}
            if not candidates & declared:
                missing[str(path.relative_to(ROOT))] = name
    assert not missing


def test_every_public_name_is_there() -> None:
    for name in dnsworker.__all__:
        assert getattr(dnsworker, name).__module__.startswith("dnsworker.")
    with pytest.raises(AttributeError, match="Klient"):
        dnsworker.Klient  # noqa: B018 - the access is the test
    assert set(dnsworker.__all__) <= set(dir(dnsworker))


@pytest.mark.parametrize("module", ["dnsworker", "dnsworker.cli"])
def test_an_import_alone_loads_no_client_and_no_database(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split())
    assert module in loaded
    assert not loaded & {"amqp", "asyncio", "celery", "dns", "kombu", "pydantic", "redis", "sqlalchemy"}
