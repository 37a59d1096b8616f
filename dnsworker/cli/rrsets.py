"""RRsets before and after, as people read them: lines with - and +, and how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from dnsworker.cli import output


def print_changes(
    rrsets: Sequence[Mapping[str, Any]], settings: Sequence[Mapping[str, Any]], *, more: int, limit: int
) -> None:
    """The zone's own values and then the RRsets, at most `limit` of these; `more` there are beyond them."""
    for one in settings:
        if one["before"] is not None:
            output.say(f"  {one['name']} {one['before']} becomes {one['after']}")
    for change in rrsets[:limit]:
        for line in lines(change):
            output.say("  " + click.style(line, fg="green" if line.startswith("+") else "red"))
    more += max(len(rrsets) - limit, 0)
    if more:
        output.say(f"  and {more:,} more RRsets")


def lines(change: Mapping[str, Any]) -> Iterator[str]:
    """`- …` for each record that goes, `+ …` for each that comes."""
    before, after = _records(change["before"]), _records(change["after"])
    for sign, records in (("-", before - after), ("+", after - before)):
        for ttl, value in sorted(records):
            yield f"{sign} {change['name']} {ttl} IN {change['type']} {value}"


def counted(created: int, updated: int, deleted: int) -> str:
    """`3 RRsets created, 1 replaced, 2 deleted`; empty where there are none."""
    numbers = (("created", created), ("replaced", updated), ("deleted", deleted))
    parts = [f"{number:,} {what}" for what, number in numbers if number]
    if not parts:
        return ""
    number, _, what = parts[0].partition(" ")
    return ", ".join([f"{number} {'RRset' if number == '1' else 'RRsets'} {what}", *parts[1:]])


def _records(rrset: Mapping[str, Any] | None) -> set[tuple[int, str]]:
    return set() if rrset is None else {(rrset["ttl"], value) for value in rrset["data"]}
