"""`make docs`: the site is built without a warning, and needs nothing that it doesn't bring."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dev.program import ROOT

#: What a browser would fetch by itself when it shows a page.
LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"|<link\b[^>]*\bhref=\"([^\"]+)\"")
IN_A_STYLE = re.compile(r"(?:@import\s+|url\()[\"']?(?!data:)([^\"')]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the Makefile builds it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        ["make", "--dry-run", "docs"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    (line,) = [line for line in made.stdout.splitlines() if "sphinx-build" in line]
    words = line.replace("build/", f"{folder}/").split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words[1:]],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "docs"


def test_every_page_is_in_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs")
        if name.parts[0] != "examples" and name != Path("README.md"):
            assert (site / name.with_suffix(".html")).exists(), name


def test_the_api_is_described_from_the_code(site: Path) -> None:
    text = (site / "api.html").read_text("utf-8")
    for name in (
        "dnsworker.Client.change_zone",
        "dnsworker.errors.OperationFailed",
        "dnsworker.backend.Backend.apply",
    ):
        assert f'id="{name}"' in text, name


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for found in LOADED.findall(page.read_text("utf-8")):
            assert not re.match(r"(?:https?:)?//", "".join(found)), f"{page.name}: {found}"
    for style in site.rglob("*.css"):
        for found in IN_A_STYLE.findall(style.read_text("utf-8")):
            assert not re.match(r"(?:https?:)?//", found), f"{style.name}: {found}"
