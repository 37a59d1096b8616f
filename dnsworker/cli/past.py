"""`dnsworker zone history` and `zone restore`: what a zone was, and back to it."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from dnsworker.cli import output
from dnsworker.cli.change import Wish, carry_out, changes_at_length
from dnsworker.cli.previewing import show_preview
from dnsworker.cli.program import FAILED
from dnsworker.cli.rrsets import counted, print_changes
from dnsworker.cli.session import Session, with_session
from dnsworker.cli.target import checked_duration

#: RRsets of one change that people are shown; of one that is asked for by its serial, all.
SHOWN, SHOWN_ALONE = 10, 100_000
serial_type = click.IntRange(min=0, max=2**32 - 1)


@click.command()
@click.argument("name", metavar="ZONE")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--before", type=serial_type, metavar="SERIAL", help="Only what came before this change.")
@click.option("--serial", type=serial_type, help="Only this change, with all its RRsets.")
@click.option("--name", "owner", help="Only what was changed at this name (@, www, or absolute).")
@click.option("--pool", help="The pool, where several hold the zone, or held it.")
@with_session
def history(
    session: Session, name: str, limit: int, before: int | None, serial: int | None, owner: str | None,
    pool: str | None,
) -> None:  # fmt: skip
    """What was changed in a zone, when, and by whom; the latest first.

    Zones that were deleted have their history, too. A line with - is a record that went, one with + one that
    came. `zone restore --serial` brings back what the zone was under a serial.
    """
    if serial is not None and before is not None:
        raise click.UsageError("give --serial or --before, not both")
    given = {"before": before, "serial": serial, "name": owner, "pool": pool}
    asked: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    found = session.client.show_history(name, limit=limit, **asked)
    if session.as_json:
        output.print_json(found)
        return
    output.say(f"{found['zone']}  {output.status_word(found['status'])} (serial {found['serial']})")
    for change in found["changes"]:
        output.say()
        _print(change, SHOWN_ALONE if serial is not None else SHOWN)
    if serial is None:
        output.say()
        _print_end(found, owner)


def _print(change: dict[str, Any], limit: int) -> None:
    at = output.moment(change["at"])
    assert at is not None, "a change has its time"
    who = f" by {change['who']}" if change["who"] else ""
    taken_back = ", taken back" if change["is_taken_back"] else ""
    status = output.status_word(change["status"])
    output.say(
        f"{change['serial']}  {at:%Y-%m-%d %H:%M:%S} UTC ({output.ago(at)})  "
        f"{change['kind']}{who}{taken_back}  {status}"
    )
    count = counted(change["created"], change["updated"], change["deleted"])
    becomes = f"the zone was {change['becomes']}" if change["becomes"] else ""
    output.print_fields(
        [
            ("operation", change["operation"]),
            ("comment", change["comment"]),
            ("reason", change["reason"]),
            ("changed", ": ".join(part for part in (becomes, count) if part)),
        ],
        indent="  ",
    )
    told = len(change["rrsets"])
    more = change["created"] + change["updated"] + change["deleted"] - told
    print_changes(change["rrsets"], change["settings"], more=more, limit=limit)


def _print_end(found: dict[str, Any], owner: str | None) -> None:
    begins = found["begins"]
    if found["older"] is not None:
        only = f" --name {owner}" if owner else ""
        output.say(f"Older: dnsworker zone history {found['zone']} --before {found['older']}{only}")
    elif begins is None:
        output.say("Nothing was changed yet.")
    elif begins["is_all"]:
        output.say("That is all.")
    else:
        output.say(f"The journal goes back no further than serial {begins['serial']} ({begins['at']}).")


@click.command()
@click.argument("name", metavar="ZONE")
@click.option("--serial", type=serial_type, help="The serial under which the zone was as it is to be.")
@click.option("--to", metavar="TIME", help="Or when: 2026-11-27T09:30:00+01:00, or '2h ago'.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@changes_at_length
def restore(session: Session, wish: Wish, name: str, serial: int | None, to: str | None, yes: bool) -> None:
    """Bring back what a zone was, as a new change under a new serial.

    All that was changed since goes, whoever changed it; the SOA's values come back with the records. A zone
    that was deleted is created again. `zone history` tells the serials. On a terminal it shows what would be
    done and asks.
    """
    from dnsworker.names import zone_name

    if (serial is None) == (to is None):
        raise click.UsageError("give either --serial or --to")
    zone = zone_name(name)
    arguments = wish.arguments(serial=serial, to=None if to is None else checked_moment(to))
    asks = not (yes or wish.dry_run or session.as_json) and is_interactive()
    if asks and not _is_meant(session, zone, arguments):
        output.say("Nothing was done.", err=True)
        click.get_current_context().exit(FAILED)
    carry_out(
        session, zone, lambda: session.client.restore_zone(name, **arguments),
        no_wait=wish.no_wait, timeout_s=wish.timeout_s,
    )  # fmt: skip


def is_interactive() -> bool:
    """Whether somebody sits there who can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def checked_moment(text: str) -> str:
    """A time as the task takes it: what is given, or so long ago by this machine's clock."""
    ago = re.fullmatch(r"(\S+)\s+ago", text.strip())
    if ago is None:
        return text
    duration = checked_duration(click.get_current_context(), click.Option(["--to"]), ago[1])
    assert duration is not None
    return (datetime.now(UTC) - timedelta(seconds=duration)).isoformat()


def _is_meant(session: Session, zone: str, arguments: dict[str, Any]) -> bool:
    """Show what would be done, and ask; ends the program with the refusal if there is one."""
    preview = session.client.restore_zone(zone, dry_run=True, **arguments).preview
    assert preview is not None, "it was asked for"
    if preview.is_refused:
        output.say(f"{zone}  would be refused: {preview.code}: {preview.message}", err=True)
        click.get_current_context().exit(FAILED)
    show_preview(zone, preview)
    return not preview.has_changes or click.confirm("Do it?")
