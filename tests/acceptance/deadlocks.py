"""Deadlocks that a database has written into its log: no test sees them, since the workers repeat them."""

from __future__ import annotations

import re
from pathlib import Path

from dev.servers import Server

#: In the words of PostgreSQL and of MariaDB.
FOUND = "deadlock detected"
BEFORE, AFTER = 2, 400
#: MariaDB prints each column of each locked row.
_COLUMN = re.compile(r"\s*\d+: (len|SQL NULL)")


def assert_no_deadlock(database: object) -> None:
    """`database`: what a `Stack` has; SQLite has no log."""
    if not isinstance(database, Server):
        return
    lines = Path(database.log_path).read_text(errors="replace").splitlines()
    found = next((index for index, line in enumerate(lines) if FOUND in line), None)
    if found is not None:
        words = [line for line in lines[max(0, found - BEFORE) : found + AFTER] if not _COLUMN.match(line)]
        raise AssertionError("locks were taken in two orders:\n" + "\n".join(words))
