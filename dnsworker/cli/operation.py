"""`dnsworker operation …`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dnsworker.cli import output
from dnsworker.cli.change import timeout_option, unfinished, wait_and_tell
from dnsworker.cli.program import Group
from dnsworker.cli.session import Session, with_session
from dnsworker.cli.target import reason_option, say_if_untold

if TYPE_CHECKING:
    from dnsworker.operations import Outcome


@click.group(cls=Group)
def operation() -> None:
    """What was asked for, and what became of it."""


@operation.command()
@click.argument("id")
@with_session
def show(session: Session, id: str) -> None:
    """One operation: status, reason, attempts, next attempt."""
    outcome = session.client.show_operation(id)
    if session.as_json:
        output.print_json(outcome)
        return
    print_operation(outcome)


@operation.command("list")
@click.option("--zone", help="Only operations on this zone.")
@click.option("--status", help="Only operations in this status.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@with_session
def list_(session: Session, zone: str | None, status: str | None, limit: int) -> None:
    """The latest operations, newest first (asks the database)."""
    from dnsworker import names
    from dnsworker.reports.outcomes import list_operations

    wanted = names.zone_name(zone) if zone else None
    with session.connection() as connection:
        found = list_operations(connection, zone_name=wanted, status=status and status.upper(), limit=limit)
    if session.as_json:
        output.print_json(found)
        return
    if not found:
        output.say("no operations" if not (zone or status) else "no such operations")
        return
    output.print_table(
        ("ID", "KIND", "ZONE", "STATUS", "SERIAL", "BY", "RECEIVED", "REASON"),
        [
            (
                one["id"], one["kind"], one["zone"], one["status"], one.get("serial"),
                one.get("submitter"), output.ago(one.get("received_at")), one.get("message") or "",
            )
            for one in found
        ],
    )  # fmt: skip


@operation.command()
@click.argument("id")
@timeout_option()
@with_session
def wait(session: Session, id: str, timeout_s: float) -> None:
    """Wait until an operation has ended."""
    pending = session.client.operation(id)
    outcome = pending.outcome()
    wait_and_tell(session, f"{outcome.kind} {outcome.zone}", pending, timeout_s=timeout_s)


@operation.command()
@click.argument("id")
@with_session
def retry(session: Session, id: str) -> None:
    """Try an operation's deliveries, and records that were withheld, again now."""
    from dnsworker.store import deliveries

    with session.connection(writes=True) as connection:
        targets = deliveries.retry_operation(connection, id)
    is_told = session.wake(targets)
    if session.as_json:
        output.print_json({"id": id, "due_now": targets})
        return
    output.say(f"{id}  " + (f"due now at {', '.join(targets)}" if targets else "nothing left to try again"))
    say_if_untold(is_told)


@operation.command()
@click.argument("id")
@reason_option
@with_session
def cancel(session: Session, id: str, reason: str | None) -> None:
    """Take an operation back that no target has received anything of.

    It ends in ERROR, code Cancelled; its RRsets become again what they were, but for those that a later
    operation changed. A move is cancelled as long as the old pool serves the zone.
    """
    from dnsworker import cancellation

    with session.engine() as engine:
        done = cancellation.cancel(engine, id, reason)
    is_told = session.wake(done.targets)
    if session.as_json:
        output.print_json(
            {"id": id, "has_ended": done.has_ended, "ended_with_it": done.dependents, "due_now": done.targets}
        )
        return
    output.say(f"{id}  cancelled" if done.has_ended else f"{id}  ends as soon as a worker takes it in")
    for other in done.dependents:
        output.say(f"ended with it: {other}")
    say_if_untold(is_told)


def print_operation(outcome: Outcome) -> None:
    """One operation for people."""
    output.say(f"{outcome.id}  {output.status_word(str(outcome.status))}")
    output.print_fields(
        [
            ("what", f"{outcome.kind} {outcome.zone}"),
            ("pool", outcome.pool),
            ("serial", outcome.serial),
            ("code", outcome.code),
            ("reason", outcome.message),
            ("comment", outcome.comment),
            ("by", outcome.submitter),
            ("submitted", output.ago(outcome.submitted_at)),
            ("accepted", output.ago(outcome.accepted_at)),
            ("finished", output.ago(outcome.finished_at)),
            ("took", _took(outcome)),
        ],
        indent="  ",
    )
    for line in unfinished(outcome):
        output.say(f"  {line}")


def _took(outcome: Outcome) -> str | None:
    begun, ended = output.moment(outcome.submitted_at), output.moment(outcome.finished_at)
    return None if begun is None or ended is None else output.duration((ended - begun).total_seconds())
