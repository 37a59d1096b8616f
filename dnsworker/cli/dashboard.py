"""`dnsworker dashboard`: the status page."""

from __future__ import annotations

import click

from dnsworker.cli import output
from dnsworker.cli.session import Session, need_checkout, with_session


@click.command()
@click.option("--host", help="The address to listen on.  [default: DNSWORKER_DASHBOARD_HOST, 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="The port (0: a free one).  [default: DNSWORKER_DASHBOARD_PORT, 8053]",
)
@click.option("--no-login", is_flag=True, help="Ask for no password; on this machine's own address only.")
@with_session
def dashboard(session: Session, host: str | None, port: int | None, no_login: bool) -> None:
    """Run the status page in the foreground: zones, targets, operations, read-only.

    It asks for the user and password of DNSWORKER_DASHBOARD_AUTH, and needs the database alone.
    """
    need_checkout("dashboard")
    session.check_started()
    from dnsworker.dashboard.serving import run
    from dnsworker.logs import set_up_logging

    settings = session.settings
    set_up_logging(settings)
    run(
        settings,
        settings.dashboard_host if host is None else host,
        settings.dashboard_port if port is None else port,
        no_login=no_login,
        on_start=lambda address: output.say(f"status page at {address}"),
    )
