"""The guide to a backend of one's own, and its example: a package that is installed and passes the suite."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dev.program import ROOT
from dnsworker.cli.backends import capabilities_table
from tests.documented import block, blocks_of

EXAMPLE = ROOT / "docs" / "examples" / "dnsworker-jsonfile"
GUIDE = "docs/writing-a-backend.md"
TABLE = ROOT / "docs" / "backends" / "README.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python that has the example installed."""
    folder = tmp_path_factory.mktemp("installed")
    install, _ = block(GUIDE, "10. The conformance suite", 2).splitlines()
    pip = [sys.executable, "-m", *install.split()]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [*pip, *options, "--target", str(folder)],
        cwd=EXAMPLE.parent, check=True, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    rest = {name: value for name, value in os.environ.items() if not name.startswith("DNSWORKER_")}
    return {**rest, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def test_an_installed_backend_shows_up_beside_our_own(installed: dict[str, str]) -> None:
    _, show = block(GUIDE, "10. The conformance suite", 2).splitlines()
    done = subprocess.run(
        [sys.executable, "-m", *show.split(), "--json"],
        env=installed, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["jsonfile"]["fencing"] == "server"
    assert {"bind9", "powerdns", "builtin"} < set(found)


def test_the_guides_pool_is_one_that_can_be_applied(installed: dict[str, str], tmp_path: Path) -> None:
    (text,) = blocks_of(GUIDE, "yaml")
    (tmp_path / "pools.yaml").write_text(text)
    commands = (
        ["db", "upgrade"],
        ["pool", "apply", str(tmp_path / "pools.yaml")],
        ["pool", "show", "--json"],
    )
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "dnsworker", *command],
            env={**installed, "DNSWORKER_DATA_DIR": str(tmp_path)},
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert '"jsonfile"' in done.stdout


def test_the_example_passes_the_suite(installed: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(EXAMPLE), "-p",
         "no:cacheprovider", str(EXAMPLE / "tests")],
        env=installed, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)
    assert "skipped" not in done.stdout


def test_the_guides_code_is_the_examples() -> None:
    sources = [path.read_text("utf-8") for path in (*EXAMPLE.rglob("*.py"), EXAMPLE / "pyproject.toml")]
    blocks = blocks_of(GUIDE, "python", "toml")
    assert len(blocks) >= 6
    for each in blocks:
        assert any(each in source for source in sources), each


def test_the_table_in_the_docs_is_what_the_backends_declare() -> None:
    assert capabilities_table(only_built_in=True) in TABLE.read_text("utf-8"), (
        "write it anew: dnsworker backends --markdown"
    )
