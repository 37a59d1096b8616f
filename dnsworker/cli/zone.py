"""`dnsworker zone …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dnsworker.cli import comparing, output, past, syncing
from dnsworker.cli.change import HINT_AFTER_S, Wish, carry_out, changes, changes_at_length
from dnsworker.cli.files import write_whole
from dnsworker.cli.program import Group
from dnsworker.cli.progress import Progress
from dnsworker.cli.session import Session, with_session

pool_option = click.option("--pool", help="The pool, where several hold the zone.")
seconds = click.IntRange(min=0, max=2**31 - 1)
#: A zone of 100,000 records is some megabytes on its way over the broker.
LARGE_TIMEOUT_S = 60.0
#: Characters of a zone file that a busy worker takes in at least; it is PENDING until the last of them.
TAKEN_IN_PER_S = 20_000


@click.group(cls=Group)
def zone() -> None:
    """Create, change, show, import, export zones."""


@zone.command()
@click.argument("name", metavar="ZONE")
@click.option("--email", required=True, help="Who is responsible (the SOA's rname).")
@click.option("--ttl", type=seconds, help="Default TTL of new records.  [default: 3600]")
@changes
def create(session: Session, wish: Wish, name: str, email: str, ttl: int | None) -> None:
    """Create a zone."""
    arguments = wish.arguments(email=email, ttl=ttl)
    _carry_out(session, wish, name, lambda: session.client.create_zone(name, **arguments))


@zone.command()
@click.argument("name", metavar="ZONE")
@click.option("--email", help="Who is responsible (the SOA's rname).")
@click.option("--ttl", type=seconds, help="Default TTL of records created from now on.")
@click.option("--refresh", type=seconds, help="SOA refresh, 60 s to a week.")
@click.option("--retry", type=seconds, help="SOA retry, from 30 s, below the refresh.")
@click.option("--expire", type=seconds, help="SOA expire, from an hour, at least refresh + retry.")
@click.option("--minimum", type=seconds, help="SOA minimum (negative caching), up to a day.")
@changes
def update(session: Session, wish: Wish, name: str, **given: Any) -> None:
    """Change a zone's own settings."""
    if all(value is None for value in given.values()):
        raise click.UsageError(f"nothing to change; give one of {', '.join('--' + key for key in given)}")
    _carry_out(session, wish, name, lambda: session.client.update_zone(name, **wish.arguments(**given)))


@zone.command()
@click.argument("name", metavar="ZONE")
@changes
def delete(session: Session, wish: Wish, name: str) -> None:
    """Delete a zone from every nameserver."""
    _carry_out(session, wish, name, lambda: session.client.delete_zone(name, **wish.arguments()))


@zone.command("import")
@click.argument("name", metavar="ZONE")
@click.argument("file", type=click.File(encoding="utf-8"), required=False)
@click.option("--from-server", metavar="HOST[:PORT]", help="Transfer it from this server (AXFR).")
@click.option("--from-target", metavar="TARGET", help="Read it from this target of a pool.")
@click.option("--tsig-key", metavar="NAME", help="The key that --from-server transfers with.")
@click.option(
    "--tsig-secret-file", type=click.Path(dir_okay=False, path_type=Path), help="Its secret, base64."
)
@click.option("--tsig-algorithm", default="hmac-sha256", show_default=True)
@click.option(
    "--adopt/--no-adopt", default=None,
    help="Take over the apex NS, the whole SOA and the serial.  [default: only from a server or target]",
)  # fmt: skip
@click.option("--email", help="Who is responsible, instead of what the SOA says.")
@changes_at_length
def import_(
    session: Session, wish: Wish, name: str, file: Any, email: str | None, adopt: bool | None, **source: Any
) -> None:
    """Make a zone what a zone file, a server or a target says.

    FILE may be - for standard input. Creates the zone if there is none. Without --adopt the SOA's names
    and the apex NS become the pool's. With it all stays as it is, so that servers which have the zone
    already go on serving it unchanged.
    """
    from dnsworker.cli import importing
    from dnsworker.names import Name, zone_name

    if [file, source["from_server"], source["from_target"]].count(None) != 2:
        raise click.UsageError("give one of FILE, --from-server, --from-target")
    if source["from_server"] is None and source["tsig_key"]:
        raise click.UsageError("--tsig-key is for --from-server")
    session.answer_timeout_s = LARGE_TIMEOUT_S
    zone, pool = Name(zone_name(name)), wish.pool
    with Progress.on_terminal(zone, as_json=session.as_json) as progress:
        if file is not None:
            text = _read(file)
        elif source["from_server"] is not None:
            key = importing.tsig_key(source["tsig_key"], source["tsig_secret_file"], source["tsig_algorithm"])
            server = importing.server_address(source["from_server"])
            text = importing.as_text(importing.from_server(server, zone, key, progress), progress)
        else:
            contents, its_pool = importing.from_target(session, source["from_target"], zone, progress)
            text, pool = importing.as_text(contents, progress), pool or its_pool
    adopts = file is None if adopt is None else adopt
    arguments = wish.arguments(text=text, email=email, adopt=adopts or None, pool=pool)
    carry_out(
        session, zone, lambda: session.client.import_zone(name, **arguments),
        no_wait=wish.no_wait, timeout_s=wish.timeout_s,
        hint_after_s=max(HINT_AFTER_S, len(text) / TAKEN_IN_PER_S),
    )  # fmt: skip


@zone.command()
@click.argument("name", metavar="ZONE")
@click.option(
    "-o", "--output", "path", type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write to a file, which is replaced only when all is there.",
)  # fmt: skip
@pool_option
@with_session
def export(session: Session, name: str, path: Path | None, pool: str | None) -> None:
    """Print a zone as a zone file."""
    from dnsworker.cli.importing import lines

    session.answer_timeout_s = LARGE_TIMEOUT_S
    with Progress.on_terminal(name, as_json=session.as_json) as progress:
        with progress.during("asking for it"):
            text = str(session.client.export_zone(name, **({"pool": pool} if pool else {})))
        text = text if text.endswith("\n") else text + "\n"
        if path is not None:
            write_whole(path, lines(text, progress))
    if session.as_json:
        output.print_json({"zone": name, **({"output": str(path)} if path else {"text": text})})
    elif path is not None:
        output.say(f"{name}  written to {path} ({text.count(chr(10))} lines)")
    else:
        sys.stdout.write(text)


zone.add_command(past.history)
zone.add_command(past.restore)
zone.add_command(comparing.diff)
zone.add_command(syncing.sync)


@zone.command()
@click.argument("name", metavar="ZONE")
@pool_option
@with_session
def show(session: Session, name: str, pool: str | None) -> None:
    """Show status and serials at every nameserver."""
    found = session.client.show_zone(name, **({"pool": pool} if pool else {}))
    if session.as_json:
        output.print_json(found)
        return
    print_zone(found)


@zone.command("list")
@pool_option
@click.option("--status", help="Only zones in this status.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True)
@with_session
def list_(session: Session, pool: str | None, status: str | None, limit: int) -> None:
    """All zones (asks the database)."""
    from dnsworker.reports.zones import list_zones

    with session.connection() as connection:
        zones = list_zones(connection, pool_name=pool, status=status and status.upper(), limit=limit)
    if session.as_json:
        output.print_json(zones)
        return
    if not zones:
        output.say("no zones" if not (pool or status) else "no such zones")
        return
    output.print_table(
        ("ZONE", "POOL", "STATUS", "SERIAL", "REASON"),
        [(one["name"], one["pool"], one["status"], one["serial"], one.get("reason") or "") for one in zones],
    )


def print_zone(found: dict[str, Any]) -> None:
    """One zone for people."""
    reason = f": {found['reason']}" if found.get("reason") else ""
    serial = f" (serial {found['serial']})" if found.get("serial") is not None else ""
    output.say(f"{found['name']}  {output.status_word(str(found['status']))}{serial}{reason}")
    if found.get("frozen"):
        output.say(f"  {click.style(found['frozen'], fg='red')} ({output.ago(found.get('frozen_at'))})")
    output.print_fields(
        [
            ("pool", found.get("pool")),
            ("moving", found.get("moving")),
            ("email", found.get("email")),
            ("ttl", found.get("ttl")),
            ("primary", found.get("primary")),
            ("rrsets", found.get("rrsets")),
            ("changed", output.ago(found.get("updated_at"))),
        ],
        indent="  ",
    )
    targets, nameservers = found.get("targets") or [], found.get("nameservers") or []
    if targets:
        output.say()
        output.print_table(
            ("TARGET", "STATE", "SERIAL", "ATTEMPTS", "NEXT ATTEMPT", "LAST ERROR"),
            [
                (
                    one["target"], one["state"], one.get("serial"), one.get("attempts", 0),
                    output.ago(one.get("next_attempt_at")), one.get("last_error") or "",
                )
                for one in targets
            ],
            indent="  ",
        )  # fmt: skip
    if nameservers:
        output.say()
        output.print_table(
            ("NAMESERVER", "SERIAL", "SEEN", "ERROR"),
            [
                (one["nameserver"], one.get("serial"), output.ago(one.get("seen_at")), one.get("error") or "")
                for one in nameservers
            ],
            indent="  ",
        )
    for one in targets:
        if one.get("last_repair"):
            output.say(f"  {one['target']}: {one['last_repair']} ({output.ago(one.get('last_repair_at'))})")
        if one.get("drift"):
            output.say(f"  {one['target']}: changed by somebody else, left as it is: {one['drift']}")
        for record in one.get("ds_records") or []:
            output.say(f"  for the parent, from {one['target']}: {found['name']} DS {record}")
        for refused in one.get("withheld") or []:
            words = refused.get("reason") or refused.get("message") or ""
            output.say(f"  withheld at {one['target']}: {refused.get('name')} {refused.get('type')}  {words}")


def _read(file: Any) -> str:
    try:
        return str(file.read())
    except UnicodeDecodeError as exc:
        raise click.BadParameter(f"{file.name} is not UTF-8 text", param_hint="FILE") from exc


def _carry_out(session: Session, wish: Wish, name: str, submit: Any) -> None:
    from dnsworker.names import zone_name

    carry_out(session, zone_name(name), submit, no_wait=wish.no_wait, timeout_s=wish.timeout_s)
