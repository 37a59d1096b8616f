"""What `zone sync --dry-run` says: what each target has otherwise, and what would be done about it.

Separate from the sync, which only marks deliveries: what a delivery would do is told here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from dnsworker.cli import output
from dnsworker.cli.comparing import Compared, compare, print_compared
from dnsworker.cli.program import FAILED
from dnsworker.cli.session import Session
from dnsworker.errors import UnsafeChange

if TYPE_CHECKING:
    from dnsworker.store.pools import KnownPool
    from dnsworker.store.rows import ZoneRow


def tell_sync(
    session: Session, zone: ZoneRow, known: KnownPool, names: Iterable[str], *, keeps_database: bool
) -> None:
    """Read these targets and say what a sync would do at each; 1 where one would be left as it is."""
    found = [compare(session, zone, known, name) for name in names]
    would = {one.target: _would(session, zone, known, one, keeps_database=keeps_database) for one in found}
    is_ok = all(is_good for is_good, _ in would.values())
    if session.as_json:
        targets = [{**one.to_json(), "would": would[one.target][1]} for one in found]
        output.print_json({"dry_run": True, "zone": zone.name, "ok": is_ok, "targets": targets})
    else:
        output.say(f"{zone.name}  serial {zone.serial} in pool {known.pool.name}")
        for one in found:
            print_compared(one)
            output.say(f"  {would[one.target][1]}")
        output.say("Nothing was done.")
    if not is_ok:
        click.get_current_context().exit(FAILED)


def _would(
    session: Session, zone: ZoneRow, known: KnownPool, one: Compared, *, keeps_database: bool
) -> tuple[bool, str]:
    """Whether it would become as it should be, and in words what would be done."""
    from dnsworker import plan
    from dnsworker.store.deliveries import BLOCKED

    if one.difference is None:
        return False, "would stay as it is"
    if one.state in BLOCKED and not keeps_database:
        return False, f"is {one.state} and would stay so: say which side is right with --keep"
    if not one.difference:
        return True, "nothing to do"
    if keeps_database:
        return True, "would be made what the database says"
    drift, sent = one.difference.drift, bool(one.difference.pending)
    if not drift:
        return True, "what is pending would be sent" if sent else "what it refuses would stay as it is"
    if known.pool.on_drift != "repair":
        return False, f"the drift would stay, and be told: the pool says on_drift: {known.pool.on_drift}"
    removals = [change for change in drift if change.key != (zone.name, "NS")]
    try:  # as the delivery itself: our own side may be the one that is wrong
        plan.raise_if_unsafe(
            removals,
            existing=one.existing + sum(change.is_removal for change in removals),
            share=session.settings.guard_share,
            minimum=session.settings.guard_minimum,
            zone=zone.name,
        )
    except UnsafeChange as exc:
        return False, f"would be held: {exc.message}"
    return True, "the drift would be put right" + (", and what is pending sent" if sent else "")
