"""`dnsworker queues dead`, `requeue`, `discard`: what to do about messages that could not be handled."""

from __future__ import annotations

import itertools

import click

from dnsworker.cli import output
from dnsworker.cli.program import FAILED
from dnsworker.cli.session import Session, with_session


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@with_session
def dead(session: Session, limit: int) -> None:
    """List dead letters, oldest first. They stay where they are."""
    from dnsworker.cli import dead_letters

    with dead_letters.letters(session.settings) as (_, messages):
        found = [letter.to_json() for letter in itertools.islice(messages, limit)]
    if session.as_json:
        output.print_json(found)
        return
    if not found:
        output.say("no dead letters")
        return
    output.print_table(
        ("DIED", "TASK", "ID", "ZONE", "USER", "REASON", "DEATHS"),
        [
            (
                output.ago(one["died_at"]) or "", one["task"] or "", one["id"], one["zone"] or "",
                one["user"] or "", one["reason"] or "", one["deaths"],
            )
            for one in found
        ],
    )  # fmt: skip


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="All of them.")
@with_session
def requeue(session: Session, ids: tuple[str, ...], is_all: bool) -> None:
    """Send dead letters back to where they came from.

    Mend first what they died of. An operation that was taken in meanwhile is not taken in again.
    """
    if bool(ids) == is_all:
        raise click.UsageError("give an ID or --all")
    from dnsworker.cli import dead_letters

    wanted = None if is_all else set(ids)
    _tell(session, "sent back", *dead_letters.each(session.settings, wanted, dead_letters.send_back))


@click.command()
@click.argument("id")
@click.option("--yes", "is_meant", is_flag=True, help="It is meant: the message is gone for good.")
@with_session
def discard(session: Session, id: str, is_meant: bool) -> None:
    """Throw a dead letter away."""
    if not is_meant:
        raise click.UsageError(f"{id} would be gone for good; say --yes if it is meant")
    from dnsworker.cli import dead_letters

    _tell(session, "discarded", *dead_letters.each(session.settings, {id}, dead_letters.discard))


def _tell(session: Session, did: str, done: list[str], refusals: list[str]) -> None:
    if session.as_json:
        output.print_json({"done": done, "refusals": refusals})
    else:
        for one in done:
            output.say(f"{one}  {did}")
        for reason in refusals:
            output.say(reason, err=True)
        if not done and not refusals:
            output.say("no dead letters")
    if refusals:
        click.get_current_context().exit(FAILED)
