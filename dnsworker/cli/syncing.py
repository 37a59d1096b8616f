"""`dnsworker zone sync`: the database and the targets brought together, whichever side is right."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

import click

from dnsworker import serials
from dnsworker.cli import output
from dnsworker.cli.change import DEFAULT_TIMEOUT_S, dry_run_option, wait_and_tell
from dnsworker.cli.comparing import find, pool_option, target_option, targets_of
from dnsworker.cli.previewing import tell_preview
from dnsworker.cli.program import FAILED
from dnsworker.cli.progress import Progress
from dnsworker.cli.session import Session, with_session
from dnsworker.cli.sync_preview import tell_sync
from dnsworker.errors import DNSWorkerError, OperationFailed, WaitTimeout

if TYPE_CHECKING:
    from datetime import datetime

    from dnsworker.client import Operation
    from dnsworker.store.deliveries import DeliveryRow
    from dnsworker.store.pools import KnownPool
    from dnsworker.store.rows import ZoneRow

#: Between two looks at the rows; growing up to the second.
FIRST_POLL_S, LAST_POLL_S = 0.05, 1.0


@click.command()
@click.argument("name", metavar="[ZONE]", required=False)
@click.option(
    "--all", "is_all", is_flag=True, help="Instead of ZONE: all zones with which a target is ahead."
)
@click.option(
    "--keep", type=click.Choice(["database", "target"]),
    help="Which side is right where a target is ahead, held or foreign.",
)  # fmt: skip
@target_option
@pool_option
@click.option("--force", is_flag=True, help="With --keep target: pass what the guard refuses.")
@dry_run_option
@click.option("--wait", "waits", is_flag=True, help="Wait until it is done.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0, max=86400), default=DEFAULT_TIMEOUT_S,
    show_default=True, metavar="SECONDS", help="How long to wait.",
)  # fmt: skip
@with_session
def sync(
    session: Session, name: str | None, is_all: bool, keep: str | None, target: str | None,
    pool: str | None, force: bool, dry_run: bool, waits: bool, timeout_s: float,
) -> None:  # fmt: skip
    """Compare a zone with its targets now, and do as the pool says (`on_drift`) where they differ.

    A target that is ahead, held or foreign is left alone until you say which side is right. --keep database
    overwrites what is there. --keep target takes it into the database, as an operation under the guard, so
    that every other target gets it.
    """
    if is_all == (name is not None):
        raise click.UsageError("give either ZONE or --all")
    if force and keep != "target":
        raise click.UsageError("--force is for --keep target; --keep database overwrites as it is")
    if name is None:
        if keep is None or target or pool or waits:
            raise click.UsageError("--all needs --keep, and takes neither --target, --pool nor --wait")
        if dry_run:
            raise click.UsageError("--dry-run is for one ZONE; `zone diff` shows what is ahead of it")
        _sync_all(session, keep, force, timeout_s)
        return
    zone, known = find(session, name, pool)
    names = targets_of(known, target)
    if keep == "target":
        right = target or _only_blocked(session, zone, known)
        if dry_run:
            _foresee_import(session, zone, known, right, force)
        operation = _keep_target(session, zone, known, [right], force, timeout_s)
        if waits:
            wait_and_tell(session, zone.name, operation, timeout_s=timeout_s)  # ends the program
        _say(session, zone, {right: f"taken into the database by operation {operation.id}"}, has_failed=False)
        return
    if dry_run:
        tell_sync(session, zone, known, names, keeps_database=keep == "database")
        return
    began = _start(session, zone, known, names, keeps_database=keep == "database")
    _tell(session, zone, known, names, began, timeout_s if waits else 0.0, waits=waits)


def _start(
    session: Session, zone: ZoneRow, known: KnownPool, names: Iterable[str], *, keeps_database: bool
) -> datetime:
    """Have these targets compared now; returns when that was, by the database's clock."""
    import sqlalchemy as sa

    from dnsworker.store import comparisons
    from dnsworker.tables import now

    names = list(names)
    with session.connection(writes=True) as connection:
        ids = [known.target_ids[name] for name in names]
        comparisons.sync(connection, zone.id, ids, keeps_database=keeps_database)
        began: datetime = connection.execute(sa.select(now())).scalar_one()
    if not session.wake(names):
        output.say("no worker could be told (the broker is away): the next sweep takes it up", err=True)
    return began


def _tell(
    session: Session, zone: ZoneRow, known: KnownPool, names: list[str], began: datetime, patience_s: float,
    *, waits: bool,
) -> None:  # fmt: skip
    """How it ended at each target, or stands when the time is over; ends the program."""
    deadline, pause_s = time.monotonic() + patience_s, FIRST_POLL_S
    while True:
        rows = _rows(session, zone, known)
        open_ = [name for name in names if name in rows and not _has_ended(rows[name])]
        if not open_ or time.monotonic() >= deadline:
            break
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LAST_POLL_S)
    said = {name: _words(rows.get(name), began, waits=waits) for name in names}
    _say(session, zone, said, has_failed=any(not _is_good(rows.get(name), waits=waits) for name in names))


def _has_ended(row: DeliveryRow) -> bool:
    from dnsworker.store.deliveries import BLOCKED

    return row.state in BLOCKED or (row.due_at is None and not row.must_read)


def _is_good(row: DeliveryRow | None, *, waits: bool) -> bool:
    from dnsworker.store.deliveries import BLOCKED

    if row is None or row.state in BLOCKED:
        return False
    return not waits or (_has_ended(row) and row.is_current and not row.drift)


def _words(row: DeliveryRow | None, began: datetime, *, waits: bool) -> str:
    from dnsworker.store.deliveries import BLOCKED

    if row is None:
        return "was never to have the zone"
    if row.state in BLOCKED:
        return f"{row.state}: {row.last_error}; say which side is right with --keep"
    if not _has_ended(row):
        reason = f": {row.last_error}" if row.attempts and row.last_error else ""
        return f"still at work{reason}" if waits else "due now"
    if row.drift:
        return f"somebody else changed what is there, and it stays: {row.drift}"
    if row.last_repair and row.last_repair_at and row.last_repair_at >= began:
        return row.last_repair
    return "as it should be"


def _say(session: Session, zone: ZoneRow, said: dict[str, str], *, has_failed: bool) -> None:
    if session.as_json:
        output.print_json({"zone": zone.name, "ok": not has_failed, "targets": said})
    else:
        output.say(zone.name)
        output.print_fields(said.items(), indent="  ")
    if has_failed:
        click.get_current_context().exit(FAILED)


# --- the target is right ------------------------------------------------------------------------------------


def _only_blocked(session: Session, zone: ZoneRow, known: KnownPool) -> str:
    from dnsworker.store.deliveries import BLOCKED

    blocked = [name for name, row in _rows(session, zone, known).items() if row.state in BLOCKED]
    if len(blocked) == 1:
        return blocked[0]
    there = ", ".join(blocked or known.target_ids)
    raise click.UsageError(f"which target is right? Say it with --target; there are: {there}")


def _foresee_import(session: Session, zone: ZoneRow, known: KnownPool, target: str, force: bool) -> NoReturn:
    """What it would be to take the target's contents into the database; ends the program."""
    from dnsworker.cli.importing import as_text, from_target

    with Progress.on_terminal(zone.name, as_json=session.as_json) as progress:
        text = as_text(from_target(session, target, zone.name, progress)[0], progress)
    operation = session.client.import_zone(
        zone.name, text=text, adopt=True, force=force, pool=known.pool.name, dry_run=True
    )
    assert operation.preview is not None, "it was asked for"
    click.get_current_context().exit(tell_preview(session, zone.name, operation.preview))


def _keep_target(
    session: Session, zone: ZoneRow, known: KnownPool, names: list[str], force: bool, timeout_s: float
) -> Operation:
    """Take the latest contents of these targets into the database, and bring all blocked targets to it.

    Raises `DNSWorkerError`, and `OperationFailed` where the import is refused.
    """
    from dnsworker.cli.importing import as_text, from_target
    from dnsworker.store.deliveries import BLOCKED

    with Progress.on_terminal(zone.name, as_json=session.as_json) as progress:
        found = {name: from_target(session, name, zone.name, progress)[0] for name in names}
        right = names[0]
        for name, contents in found.items():
            if serials.is_ahead(contents.soa.serial, found[right].soa.serial):
                right = name
        text = as_text(found[right], progress)
    operation = session.client.import_zone(
        zone.name, text=text, adopt=True, force=force,
        pool=known.pool.name, comment=f"zone sync --keep target {right}",
    )  # fmt: skip
    _wait_until_accepted(operation, timeout_s)
    blocked = [name for name, row in _rows(session, zone, known).items() if row.state in BLOCKED]
    _start(session, zone, known, {right, *blocked}, keeps_database=True)
    return operation


def _wait_until_accepted(operation: Operation, timeout_s: float) -> None:
    """Only then does the database say what the target has, and may the target be written to."""
    deadline, pause_s = time.monotonic() + timeout_s, FIRST_POLL_S
    while (outcome := operation.outcome()).status in ("PENDING", "HELD"):
        if time.monotonic() >= deadline:
            raise WaitTimeout(
                f"operation {operation.id} was not taken in within {timeout_s:g} s; the target stays as it "
                "is: say it again when it has been",
                outcome,
            )
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LAST_POLL_S)
    if outcome.status == "ERROR":
        raise OperationFailed(outcome.code or "Error", outcome.message or "no reason given", outcome)


# --- all ----------------------------------------------------------------------------------------------------


def _sync_all(session: Session, keep: str, force: bool, timeout_s: float) -> None:
    from dnsworker.store import comparisons, pools, zones

    with session.connection(writes=keep == "database") as connection:
        ahead = comparisons.ahead(connection)
        directory = {known.id: known for known in pools.read(connection)}
        found = [(zones.get(connection, zone_id), names) for zone_id, names in ahead]
        woken = comparisons.keep_database(connection) if keep == "database" else []
    session.wake(woken)
    refused: dict[str, str] = {}
    if keep == "target":
        for zone, names in found:
            try:
                _keep_target(session, zone, directory[zone.pool_id], names, force, timeout_s)
            except DNSWorkerError as exc:
                refused[zone.name] = f"{exc.code}: {exc.message}"
    if session.as_json:
        output.print_json({"zones": len(found), "refused": refused})
    else:
        what = "overwritten at the rate of repairs" if keep == "database" else "taken into the database"
        output.say(f"{len(found) - len(refused)} zones {what}")
        output.print_fields(refused.items(), indent="  ")
    if refused:
        click.get_current_context().exit(FAILED)


def _rows(session: Session, zone: ZoneRow, known: KnownPool) -> dict[str, DeliveryRow]:
    """The zone's deliveries by target."""
    from dnsworker.store import deliveries

    with session.connection() as connection:
        rows = {row.target_id: row for row in deliveries.of_zone(connection, zone.id)}
    return {name: rows[target_id] for name, target_id in known.target_ids.items() if target_id in rows}
