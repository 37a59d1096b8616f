"""How `make docs` makes a site of docs/: Sphinx, MyST for Markdown, Furo; nothing from elsewhere."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

project = "dnsworker"
author = "the dnsworker authors"
release = version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc"]
# The list of pages is README.md for whoever reads docs/ as files; index.md takes it into the site.
exclude_patterns = ["README.md", "examples", "_build"]

# Anchors as GitHub makes them, so that a link works in both places.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
# A block of shell or of somebody's configuration needs no lexer that knows it.
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"dnsworker {version}"
html_show_sphinx = False
html_copy_source = False
