"""`dnsworker demo`: a tour that proves itself, on a system of its own that leaves nothing behind."""

from __future__ import annotations

import click

from dnsworker.cli.program import FAILED
from dnsworker.cli.session import Session, need_checkout, with_session


@click.command()
@with_session
def demo(session: Session) -> None:
    """See it work, in ten seconds.

    Creates, changes and deletes records, and asks a nameserver after each step.

    Starts `dnsworker up` in a temporary directory on a free port, and stops it at the end.
    """
    need_checkout("demo")
    from dnsworker.cli.tour import run

    if not run(as_json=session.as_json):
        click.get_current_context().exit(FAILED)
