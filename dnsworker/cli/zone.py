"""`dnsworker zone …`."""

from __future__ import annotations

import sys
from typing import Any

import click

from dnsworker.cli import output
from dnsworker.cli.change import Wish, carry_out, changes
from dnsworker.cli.program import Group
from dnsworker.cli.session import Session, with_session

pool_option = click.option("--pool", help="The pool, where several hold the zone.")
seconds = click.IntRange(min=0, max=2**31 - 1)


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
@click.option("--refresh", type=seconds, help="SOA refresh.")
@click.option("--retry", type=seconds, help="SOA retry.")
@click.option("--expire", type=seconds, help="SOA expire.")
@click.option("--minimum", type=seconds, help="SOA minimum (negative caching).")
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
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option("--email", help="Who is responsible, instead of what the file's SOA says.")
@changes
def import_(session: Session, wish: Wish, name: str, file: Any, email: str | None) -> None:
    """Make a zone what a zone file says.

    FILE may be - for standard input. Creates the zone if there is none. The SOA's names and the
    apex NS become the pool's.
    """
    try:
        text = file.read()
    except UnicodeDecodeError as exc:
        raise click.BadParameter(f"{file.name} is not UTF-8 text", param_hint="FILE") from exc
    arguments = wish.arguments(text=text, email=email)
    _carry_out(session, wish, name, lambda: session.client.import_zone(name, **arguments))


@zone.command()
@click.argument("name", metavar="ZONE")
@click.option(
    "-o", "--output", "path", type=click.Path(dir_okay=False, writable=True), help="Write to a file."
)
@pool_option
@with_session
def export(session: Session, name: str, path: str | None, pool: str | None) -> None:
    """Print a zone as a zone file."""
    text = str(session.client.export_zone(name, **({"pool": pool} if pool else {})))
    if session.as_json:
        output.print_json({"zone": name, "text": text})
    elif path is not None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        output.say(f"{name}  written to {path} ({text.count(chr(10))} lines)")
    else:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")


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
    from dnsworker import reports

    with session.connection() as connection:
        zones = reports.list_zones(connection, pool_name=pool, status=status and status.upper(), limit=limit)
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
    output.print_fields(
        [
            ("pool", found.get("pool")),
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
        for record in one.get("ds_records") or []:
            output.say(f"  for the parent, from {one['target']}: {found['name']} DS {record}")
        for refused in one.get("withheld") or []:
            words = refused.get("reason") or refused.get("message") or ""
            output.say(f"  withheld at {one['target']}: {refused.get('name')} {refused.get('type')}  {words}")


def _carry_out(session: Session, wish: Wish, name: str, submit: Any) -> None:
    from dnsworker.names import zone_name

    carry_out(session, zone_name(name), submit, no_wait=wish.no_wait, timeout_s=wish.timeout_s)
