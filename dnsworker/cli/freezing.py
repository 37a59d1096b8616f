"""`dnsworker zone freeze` and `thaw`: whether anything is written for a zone.

Separate from the commands that submit something: these are orders to the workers, written into the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dnsworker.cli import output
from dnsworker.cli.session import Session, with_session
from dnsworker.cli.target import reason_option, say_if_untold, say_under_way
from dnsworker.cli.zone import pool_option
from dnsworker.errors import ZoneNotFound

if TYPE_CHECKING:
    from dnsworker.store.rows import ZoneRow


@click.command()
@click.argument("name", metavar="ZONE")
@reason_option
@pool_option
@with_session
def freeze(session: Session, name: str, reason: str | None, pool: str | None) -> None:
    """Write nothing more to any target for a zone, until it is thawed.

    Operations are still taken in, and wait. A delivery under way stops before its next request.
    """
    from dnsworker.names import Name, zone_name
    from dnsworker.reports.zones import find_zone
    from dnsworker.store import stops, zones
    from dnsworker.tables import delivery

    wanted = Name(zone_name(name))
    with session.connection(writes=True) as connection:
        found, _ = find_zone(connection, wanted, pool)
        sides = _sides(connection, found)
        for one in zones.lock_all(connection, sides):
            stops.freeze(connection, one.id, reason)
        busy = stops.under_way(connection, delivery.c.zone_id.in_(sides))
    told = stops.frozen_text(reason)
    if session.as_json:
        output.print_json({"zone": wanted, "frozen": told, "under_way": busy})
        return
    output.say(f"{wanted}  {told}")
    say_under_way(busy)


@click.command()
@click.argument("name", metavar="ZONE")
@pool_option
@with_session
def thaw(session: Session, name: str, pool: str | None) -> None:
    """Let a frozen zone go on: what was submitted meanwhile goes out as one change."""
    from dnsworker.names import Name, zone_name
    from dnsworker.store import stops, zones

    wanted = Name(zone_name(name))
    with session.connection(writes=True) as connection:
        found = _frozen(connection, wanted, pool)
        targets: list[str] = []
        for one in zones.lock_all(connection, _sides(connection, found)):
            targets += stops.thaw(connection, one.id)
    is_told = session.wake(targets)
    if session.as_json:
        output.print_json({"zone": wanted, "was_frozen": found.frozen_at is not None, "due_now": targets})
        return
    due = f"due now at {', '.join(targets)}" if targets else "nothing is due"
    output.say(f"{wanted}  {'thawed' if found.frozen_at else 'not frozen'}, {due}")
    say_if_untold(is_told)


def _sides(connection: Any, found: ZoneRow) -> set[int]:
    """The zone, and while it moves to another pool its other half."""
    from dnsworker.store import moves

    operation_id = found.leaves_by or found.arrives_by
    return {found.id} if operation_id is None else moves.both_sides(connection, operation_id)


def _frozen(connection: Any, name: Any, pool: str | None) -> ZoneRow:
    """The zone of that name, which may have been deleted while it was frozen."""
    from dnsworker.reports.zones import find_zone
    from dnsworker.store import pools, zones

    ids = [one.id for one in pools.read(connection) if pool in (None, one.pool.name)]
    frozen = [one for one in zones.find(connection, name, ids) if one.frozen_at is not None]
    if len(frozen) == 1:
        return frozen[0]
    try:
        return find_zone(connection, name, pool)[0]
    except ZoneNotFound:
        raise ZoneNotFound(f"there is no zone {name} that is frozen") from None
