"""Databases with the current schema, without all migrations for each: copies of one that had them.

The migrations have tests of their own; here they are what a test has to wait for before it begins.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path

import sqlalchemy as sa

from dnsworker import database


def have_schema(url: str) -> None:
    """Bring a database to the current schema, SQLite's by a copy."""
    parsed = sa.make_url(url)
    path = Path(parsed.database or "")
    if parsed.get_backend_name() == "sqlite" and not path.exists():
        path.write_bytes(_template())
    else:
        database.upgrade(url)


@functools.cache
def _template() -> bytes:
    folder = Path(tempfile.mkdtemp())
    try:
        database.upgrade(f"sqlite:///{folder / 'template.db'}")
        # Everything is in the one file: the last connection that ends has it written there.
        assert [path.name for path in folder.iterdir()] == ["template.db"]
        return (folder / "template.db").read_bytes()
    finally:
        shutil.rmtree(folder)
