"""`dnsworker zone diff`: what each target has against the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dnsworker.cli import output
from dnsworker.cli.program import FAILED
from dnsworker.cli.session import Session, with_session
from dnsworker.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from dnsworker.differences import Difference, Side
    from dnsworker.store.pools import KnownPool
    from dnsworker.store.rows import ZoneRow

pool_option = click.option("--pool", help="The pool, where several hold the zone.")
target_option = click.option("--target", metavar="TARGET", help="Only this target of the zone's pool.")
#: What the kinds of difference are called.
EXPLAINED = {
    "pending": "pending: on its way there",
    "withheld": "withheld: the target refuses it",
    "drift": "drift: nothing explains it",
}


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing one target."""

    target: str
    state: str
    difference: Difference | None = None
    error: str | None = None
    #: RRsets that the zone has in the database.
    existing: int = 0

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"target": self.target, "state": self.state, "error": self.error}
        if self.difference is None:
            return found
        changes = {kind: _changes(getattr(self.difference, kind)) for kind in EXPLAINED}
        return found | {
            "is_missing": self.difference.is_missing,
            "serial": self.difference.serial,
            **changes,
        }


@click.command()
@click.argument("name", metavar="ZONE")
@target_option
@pool_option
@with_session
def diff(session: Session, name: str, target: str | None, pool: str | None) -> None:
    """Show what differs between the database and each target.

    A line with + is missing at the target, one with - is too much there. Nothing is changed. The exit code
    is 1 where something differs, whatever explains it, or a target can't be read.
    """
    zone, known = find(session, name, pool)
    found = [compare(session, zone, known, one) for one in targets_of(known, target)]
    differs = any(one.error or one.difference for one in found)
    if session.as_json:
        output.print_json(
            {
                "zone": zone.name, "pool": known.pool.name, "serial": zone.serial,
                "differs": differs, "targets": [one.to_json() for one in found],
            }
        )  # fmt: skip
    else:
        output.say(f"{zone.name}  serial {zone.serial} in pool {known.pool.name}")
        for one in found:
            print_compared(one)
    if differs:
        click.get_current_context().exit(FAILED)


def find(session: Session, name: str, pool: str | None) -> tuple[ZoneRow, KnownPool]:
    """The zone by the words of the command line. Raises `InvalidName`, `ZoneNotFound`, `AmbiguousZone`."""
    from dnsworker.names import Name, zone_name
    from dnsworker.reports.zones import find_zone

    with session.connection() as connection:
        return find_zone(connection, Name(zone_name(name)), pool)


def targets_of(known: KnownPool, name: str | None) -> list[str]:
    """All targets of a pool, or the one that was asked for. Raises `ConfigError`."""
    return list(known.target_ids) if name is None else [known.pool.target(name).name]


def compare(session: Session, zone: ZoneRow, known: KnownPool, target: str) -> Compared:
    """The target read, and set against the database."""
    from dnsworker import differences
    from dnsworker.cli.importing import read_target
    from dnsworker.pools import capabilities_of

    wanted = known.pool.target(target)

    def read_database() -> Side | None:
        with session.connection() as connection:
            return differences.read_side(connection, zone.id, known.target_ids[target])

    try:
        found = differences.settled(read_database, lambda: read_target(wanted, zone.name))
    except (BackendError, ConfigError) as exc:
        return Compared(target, "-", error=f"{exc.code}: {exc.message}")
    if found is None:
        return Compared(target, "never", error="nothing was to be delivered there yet")
    side, contents = found
    difference = differences.compare(side, contents, capabilities_of(wanted), known.pool)
    return Compared(target, side.delivery.state, difference, existing=len(side.desired))


def print_compared(one: Compared) -> None:
    """For people: the state in one line, then what differs."""
    from dnsworker import differences

    if one.difference is None:
        output.say(f"{one.target}  {one.error}")
        return
    where = "has no such zone" if one.difference.is_missing else f"serial {one.difference.serial}"
    said = "" if one.difference else ": no difference"
    output.say(f"{one.target}  {one.state}, {where}{said}")
    for kind, explanation in EXPLAINED.items():
        changes = getattr(one.difference, kind)
        if changes:
            output.say(f"  {explanation}")
        for change in changes:
            for line in differences.lines(change):
                output.say("  " + click.style(line, fg="green" if line.startswith("+") else "red"))


def _changes(changes: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": change.key[0], "type": change.key[1],
            "target": change.before and change.before.to_json(),
            "database": change.after and change.after.to_json(),
        }
        for change in changes
    ]  # fmt: skip
