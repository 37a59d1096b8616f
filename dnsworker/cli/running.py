"""`dnsworker up`, `worker`, `beat` and `queues`: the processes, and what they need on the broker."""

from __future__ import annotations

import click

from dnsworker.cli import output
from dnsworker.cli.program import Group
from dnsworker.cli.session import Session, need_checkout, with_session
from dnsworker.errors import ConfigError


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the built-in nameserver (0: a free one)."
)
@with_session
def up(session: Session, port: int | None) -> None:
    """Run everything here, in the foreground.

    A worker, a scheduler and a nameserver, with nothing to install: SQLite in DNSWORKER_DATA_DIR.
    Ctrl-C stops it; what was accepted is kept.
    """
    need_checkout("up")
    if not session.settings.is_embedded:
        raise ConfigError(
            "DNSWORKER_BROKER_URL is set, and `up` runs without a broker: "
            "unset it, or start `dnsworker worker` and `dnsworker beat`"
        )
    from dnsworker.cli.embedded import run

    run(session, port)


@click.command()
@click.option("-Q", "--queues", help="Only these queues, with commas between.  [default: all]")
@click.option("-c", "--concurrency", type=click.IntRange(1, 1000), help="Threads.")
@click.option("-n", "--hostname", help="The worker's name, where one machine runs several.")
@with_session
def worker(session: Session, queues: str | None, concurrency: int | None, hostname: str | None) -> None:
    """Run a worker in the foreground. As many as you like, on as many machines as you like."""
    need_checkout("worker")
    from dnsworker.logs import set_up_logging
    from dnsworker.worker import run_worker

    set_up_logging(session.settings)
    names = [name.strip() for name in queues.split(",") if name.strip()] if queues else None
    run_worker(session.settings, queues=names, concurrency=concurrency, hostname=hostname)


@click.command()
@with_session
def beat(session: Session) -> None:
    """Run the scheduler in the foreground. Two of them do no harm."""
    need_checkout("beat")
    from dnsworker.logs import set_up_logging
    from dnsworker.worker import run_beat

    set_up_logging(session.settings)
    run_beat(session.settings)


@click.group(cls=Group)
def queues() -> None:
    """The queues on the broker."""


@queues.command()
@with_session
def declare(session: Session) -> None:
    """Declare every exchange and queue, before the first worker does. Safe to repeat."""
    if session.settings.is_embedded:
        raise ConfigError("DNSWORKER_BROKER_URL is not set: there is no broker to declare queues on")
    from dnsworker.cli import broker
    from dnsworker.store import pools as store

    with session.connection() as connection:
        targets = list(store.target_ids(connection))
    names = broker.declare(session.settings, targets)
    if session.as_json:
        output.print_json({"queues": names})
    else:
        for name in names:
            output.say(name)
