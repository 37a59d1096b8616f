"""What an operation did to RRsets, as lines: taken away, added, or there before and after.

Pure: of rows of the journal. Separate because both a zone's page and an operation's show it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Sign = Literal["-", "+", " "]
#: Lines of one RRset that are shown.
LINES_SHOWN = 40
#: Characters of one record that are shown: a key may have thousands.
WIDEST = 300


@dataclass(frozen=True, slots=True)
class Line:
    """One record: `sign` is - for one that is gone, + for a new one, a blank for one that stays."""

    sign: Sign
    ttl: int
    text: str


@dataclass(frozen=True, slots=True)
class Diff:
    """One RRset, before and after."""

    name: str
    type: str
    serial: int
    lines: tuple[Line, ...]
    #: Lines that aren't shown.
    more: int = 0


def diffs(rows: Iterable[Any]) -> list[Diff]:
    """Of rows of the journal, in their order. SOA rows carry the zone's own values."""
    return [_diff(row) for row in rows]


def _diff(row: Any) -> Diff:
    before, after = row.before or {"ttl": 0, "data": []}, row.after or {"ttl": 0, "data": []}
    # With another TTL every record is another one: that is how nameservers see it.
    is_kept = before["ttl"] == after["ttl"]
    kept = set(before["data"]) & set(after["data"]) if is_kept else set()
    lines = [Line("-", before["ttl"], _cut(text)) for text in before["data"] if text not in kept]
    lines += [Line("+", after["ttl"], _cut(text)) for text in after["data"] if text not in kept]
    lines += [Line(" ", after["ttl"], _cut(text)) for text in after["data"] if text in kept]
    return Diff(row.name, row.type, row.serial, tuple(lines[:LINES_SHOWN]), max(0, len(lines) - LINES_SHOWN))


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
