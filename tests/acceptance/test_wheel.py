"""What a submitting service installs: the wheel alone, without database, without the workers' code."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from dev.stack import Stack
from tests.acceptance.conftest import NewZone

ROOT = Path(__file__).resolve().parent.parent.parent
SUBMIT = """
import sys
from dnsworker import Client
with Client() as dns:
    dns.create_zone(sys.argv[1], email="hostmaster@example.org").wait(timeout=30)
    print(dns.put_record(sys.argv[1], "www", "A", ["192.0.2.1"]).wait(timeout=30).status)
    print(dns.list_records(sys.argv[1], type="A")[0]["data"])
heavy = {"sqlalchemy", "psycopg2", "flower", "alembic", "httpx", "tasks", "backends"} & set(sys.modules)
print("imported:", sorted(heavy))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, text=True, timeout=120)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def client_python(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, system_environment: dict[str, str]
) -> Path:
    """A virtual environment with nothing but the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("client")
    venv.create(folder)
    python = folder / "bin" / "python"
    # Of what is installed little is run: that compiles itself.
    install = pip(
        python, "install", "--quiet", "--no-compile", "-c", str(ROOT / "constraints.txt"), str(wheel)
    )
    subprocess.run(install, check=True, capture_output=True, text=True, timeout=240, env=system_environment)
    return python


def pip(python: Path, *arguments: str) -> list[str]:
    """Our own, for that environment: one of its own would have to be installed first."""
    return [sys.executable, "-m", "pip", "--python", str(python), *arguments]


def test_the_wheel_holds_one_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {"dnsworker", next(top for top in tops if top.endswith(".dist-info"))}


def test_a_client_only_install_brings_no_database_and_no_flower(client_python: Path) -> None:
    listed = subprocess.run(
        pip(client_python, "list", "--format=freeze"), check=True, capture_output=True, text=True
    ).stdout.lower()
    installed = {line.split("==")[0].replace("_", "-") for line in listed.split()}
    assert "dnsworker" in installed
    assert not installed & {"sqlalchemy", "psycopg2-binary", "psycopg2", "flower", "alembic", "httpx"}


def test_a_client_with_only_the_wheel_submits_and_waits(
    client_python: Path, stack: Stack, names: NewZone, tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    environment |= {name: stack.env[name] for name in ("DNSWORKER_BROKER_URL", "DNSWORKER_RESULT_URL")}
    done = subprocess.run(
        [str(client_python), "-c", SUBMIT, names()],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["ACTIVE", "['192.0.2.1']", "imported: []"]


@pytest.mark.parametrize("command", [["worker"], ["up"], ["beat"], ["db", "upgrade"]])
def test_what_needs_a_checkout_says_so_in_one_line(
    client_python: Path, command: list[str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [str(client_python.parent / "dnsworker"), *command],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert "checkout" in done.stderr
