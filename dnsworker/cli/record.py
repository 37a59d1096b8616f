"""`dnsworker record …`: one RRset (all records of a name and type) at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dnsworker.cli import output
from dnsworker.cli.change import Wish, carry_out, changes
from dnsworker.cli.program import Group
from dnsworker.cli.session import Session, with_session

F = Callable[..., Any]


@click.group(cls=Group)
def record() -> None:
    """Create, change, delete, list records.

    An RRset is all records of one name and type; it is changed as a whole.

    NAME is @ for the zone itself, relative to the zone (www), or absolute with its final dot.
    """


def names_an_rrset(function: F) -> F:
    """The arguments ZONE NAME TYPE."""
    for argument in ("type", "name", "zone"):
        function = click.argument(argument, metavar=argument.upper())(function)
    return function


def gives_data(function: F) -> F:
    """The arguments ZONE NAME TYPE DATA… and --ttl."""
    function = click.argument("data", metavar="DATA...", nargs=-1, required=True)(function)
    option = click.option("--ttl", type=click.IntRange(min=0, max=2**31 - 1), help="Seconds to be cached.")
    return names_an_rrset(option(function))


@record.command()
@gives_data
@changes
def create(session: Session, wish: Wish, **given: Any) -> None:
    """Create an RRset; fails if it exists."""
    _set("create_record", session, wish, **given)


@record.command()
@gives_data
@changes
def update(session: Session, wish: Wish, **given: Any) -> None:
    """Replace an RRset; fails if it doesn't exist."""
    _set("update_record", session, wish, **given)


@record.command()
@gives_data
@changes
def put(session: Session, wish: Wish, **given: Any) -> None:
    """Create an RRset or replace it."""
    _set("put_record", session, wish, **given)


@record.command()
@names_an_rrset
@changes
def delete(session: Session, wish: Wish, zone: str, name: str, type: str) -> None:
    """Delete an RRset; fails if it doesn't exist."""
    carry_out(
        session,
        _subject(zone, name, type),
        lambda: session.client.delete_record(zone, name, type, **wish.arguments()),
        no_wait=wish.no_wait,
        timeout_s=wish.timeout_s,
    )


@record.command("list")
@click.argument("zone", metavar="ZONE")
@click.option("--name", help="Only this name.")
@click.option("--type", help="Only this type.")
@click.option("--pool", help="The pool, where several hold the zone.")
@with_session
def list_(session: Session, zone: str, **given: str | None) -> None:
    """The records that a zone should have."""
    asked = {key: value for key, value in given.items() if value is not None}
    found = session.client.list_records(zone, **asked)
    if session.as_json:
        output.print_json(found)
        return
    if not found:
        output.say("no records" if len(asked.keys() - {"pool"}) == 0 else "no such records")
        return
    rows = [
        (rrset["name"] if index == 0 else "", rrset["ttl"], rrset["type"], value)
        for rrset in found
        for index, value in enumerate(rrset["data"])
    ]
    output.print_table(("NAME", "TTL", "TYPE", "DATA"), rows)


def _set(
    method: str, session: Session, wish: Wish, *, zone: str, name: str, type: str,
    data: tuple[str, ...], ttl: int | None,
) -> None:  # fmt: skip
    def submit() -> Any:
        return getattr(session.client, method)(zone, name, type, list(data), **wish.arguments(ttl=ttl))

    carry_out(session, _subject(zone, name, type), submit, no_wait=wish.no_wait, timeout_s=wish.timeout_s)


def _subject(zone: str, name: str, type: str) -> str:
    """`www.example.org. A`. Raises `InvalidName`."""
    from dnsworker import names

    return f"{names.record_name(name, names.zone_name(zone))} {type.upper()}"
