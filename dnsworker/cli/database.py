"""`dnsworker db …`."""

from __future__ import annotations

import click

from dnsworker.cli import output
from dnsworker.cli.program import Group
from dnsworker.cli.session import Session, need_checkout, with_session


@click.group(cls=Group)
def db() -> None:
    """The database and its schema."""


@db.command()
@with_session
def upgrade(session: Session) -> None:
    """Bring the database to this version's schema. Safe to repeat."""
    need_checkout("db upgrade")
    from dnsworker import database
    from dnsworker.credentials import mask_url

    url = session.settings.database()
    version = database.upgrade(url)
    if session.as_json:
        output.print_json({"database": mask_url(url), "version": version})
    else:
        output.say(f"{mask_url(url)} has schema version {version}")


@db.command()
@with_session
def restored(session: Session) -> None:
    """Say that the database was restored from a backup: targets are compared before they are written to.

    Workers find out by themselves, if one has run all the while or Redis has; else say so before you start
    them. What a target has and the database doesn't know makes the zone `ahead` there.
    """
    from dnsworker.store import lineage

    with session.connection(writes=True) as connection:
        count = lineage.doubt_everything(connection)
    if session.as_json:
        output.print_json({"deliveries": count})
    else:
        output.say(f"{count} deliveries will be compared with their targets before anything is written there")
