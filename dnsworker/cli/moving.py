"""`dnsworker zone move`: from one pool to another.

Separate from the other changes, whose `--pool` is where the zone is; here it is where the zone goes.
"""

from __future__ import annotations

from typing import Any

import click

from dnsworker.cli.change import DEFAULT_TIMEOUT_S, carry_out, dry_run_option, waiting
from dnsworker.cli.session import Session, with_session


@click.command()
@click.argument("name", metavar="ZONE")
@click.option("--pool", "--to", "to", required=True, help="The pool that it moves to.")
@click.option("--from", "source", help="The pool that it is in, where several hold the name.")
@click.option("--force", is_flag=True, help="Take over a zone of that name that the new targets have.")
@click.option("--comment", help="Kept with the operation, for the history.")
@dry_run_option
@waiting(DEFAULT_TIMEOUT_S)
@with_session
def move(
    session: Session,
    name: str,
    to: str,
    source: str | None,
    force: bool,
    comment: str | None,
    dry_run: bool,
    no_wait: bool,
    timeout_s: float,
) -> None:
    """Move a zone to another pool, whose NS records it gets.

    It is delivered to the new pool and verified there, then removed from the old one. Until then the old one
    serves it, and takes changes, which go with it. `operation cancel` ends a move before that.
    """
    from dnsworker.names import zone_name

    given = {"pool": source, "comment": comment, "force": force or None, "dry_run": dry_run or None}
    arguments: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    carry_out(
        session, zone_name(name), lambda: session.client.move_zone(name, to=to, **arguments),
        no_wait=no_wait, timeout_s=timeout_s,
    )  # fmt: skip
