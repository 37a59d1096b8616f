"""What people read: one line for what happened, aligned tables, durations. And the JSON for programs.

Separate so that all commands look alike. Colours go through `click.echo`, which drops them when the output
isn't a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from dnsworker.durations import duration

__all__ = [
    "COLOURS", "ago", "duration", "moment", "print_fields", "print_json", "print_json_line", "print_table",
    "say", "status_word",
]  # fmt: skip

COLOURS = {
    "ACTIVE": "green", "SUPERSEDED": "green", "ok": "green", "closed": "green",
    "PENDING": "yellow", "HELD": "yellow", "ACCEPTED": "yellow", "DEGRADED": "yellow", "half-open": "yellow",
    "ERROR": "red", "failed": "red", "open": "red", "AHEAD": "red",
    "DELETED": "bright_black",
}  # fmt: skip


def print_json(value: Any) -> None:
    """One JSON document; pydantic models and times become JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_to_json))


def print_json_line(value: Any) -> None:
    """One JSON document on one line, at once, for a program that reads along."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_to_json))
    sys.stdout.flush()


def say(text: str = "", *, err: bool = False) -> None:
    click.echo(text, err=err)


def status_word(word: str, width: int = 0) -> str:
    """A status in its colour, padded to `width`."""
    padded = word.ljust(width)
    return click.style(padded, fg=COLOURS[word]) if word in COLOURS else padded


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, indent: str = "") -> None:
    """Left-aligned columns; numbers right-aligned; None as `-`. Statuses in their colours."""
    cells = [list(row) for row in rows]
    texts = [["-" if cell is None else str(cell) for cell in row] for row in cells]
    widths = [
        max([len(header), *(len(row[column]) for row in texts)]) for column, header in enumerate(headers)
    ]
    numeric = [
        bool(cells) and all(isinstance(row[column], int | float | None) for row in cells)
        for column in range(len(headers))
    ]

    def line(row: Sequence[str], paint: bool) -> str:
        parts = []
        for column, cell in enumerate(row):
            padded = cell.rjust(widths[column]) if numeric[column] else cell.ljust(widths[column])
            parts.append(click.style(padded, fg=COLOURS[cell]) if paint and cell in COLOURS else padded)
        return (indent + "  ".join(parts)).rstrip()

    click.echo(click.style(line(list(headers), paint=False), bold=True))
    for row in texts:
        click.echo(line(row, paint=True))


def print_fields(fields: Iterable[tuple[str, Any]], *, indent: str = "") -> None:
    """`name  value` lines, aligned; None is left out."""
    shown = [(name, value) for name, value in fields if value is not None and value != ""]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{indent}{name.ljust(width)}  {status_word(str(value))}")


def moment(value: Any) -> datetime | None:
    """A time from a report (datetime or ISO text); without a zone it is UTC."""
    if value is None:
        return None
    parsed = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def ago(value: Any) -> str | None:
    """`3 min ago`, `in 12 s`, or None."""
    at = moment(value)
    if at is None:
        return None
    seconds = (datetime.now(UTC) - at).total_seconds()
    return f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"


def _to_json(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return sorted(value) if isinstance(value, set | frozenset) else list(value)
    return str(value)
