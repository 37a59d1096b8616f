"""`dnsworker status`: the whole system on one screen."""

from __future__ import annotations

from typing import Any

import click

from dnsworker.cli import output
from dnsworker.cli.program import FAILED
from dnsworker.cli.session import Session, with_session
from dnsworker.cli.target import NO_TARGETS, print_targets, say_all_paused


@click.command()
@with_session
def status(session: Session) -> None:
    """The whole system on one screen.

    Zones by status, backlog and breaker per target, the oldest unfinished operation, dead letters. Exit
    code 1 while nothing is repaired because so many zones are ahead of the database.
    """
    from dnsworker.reports.system import show_status

    with session.connection() as connection:
        found: dict[str, Any] = dict(show_status(connection))
    found["dead_letters"] = None
    broker_error = None
    if not session.settings.is_embedded:
        from dnsworker.cli.broker import dead_letters

        found["dead_letters"], broker_error = dead_letters(session.settings)
    if session.as_json:
        output.print_json({**found, "broker_error": broker_error})
    else:
        _print(found, broker_error)
    if found["alarm"]:
        click.get_current_context().exit(FAILED)


def _print(found: dict[str, Any], broker_error: str | None) -> None:
    if found["alarm"]:
        output.say(f"{click.style('ALARM', fg='red')}        {found['alarm']}")
    if found.get("all_paused"):
        say_all_paused(found["all_paused"]["reason"])
    _print_counts("zones", found.get("zones") or {})
    _print_counts("operations", found.get("operations") or {})
    if found.get("counted_at"):
        output.say(f"counted      {output.ago(found['counted_at'])}, the oldest of the large numbers")
    oldest = found.get("oldest_operation")
    if oldest:
        since = output.ago(oldest.get("submitted_at"))
        reason = f": {oldest['message']}" if oldest.get("message") else ""
        output.say(f"oldest open  {oldest['id']} {oldest['kind']} {oldest['zone']}, {since}{reason}")
    for one in found.get("targets") or []:
        if one.get("paused"):
            output.say(f"{click.style('paused', fg='red')}       {one['name']} {one['paused']}")
    frozen = found.get("frozen") or {}
    if frozen.get("zones"):
        output.say(f"{click.style('frozen', fg='red')}       {frozen['zones']} zones; the first:")
        for one in frozen["first"]:
            output.say(f"  {one['zone']} {one['reason']} ({output.ago(one['at'])})")
    refused = found.get("withheld") or {}
    if refused.get("rrsets"):
        output.say(f"withheld     {refused['rrsets']} RRsets that a target refuses; the latest:")
        for one in refused["latest"]:
            output.say(f"  {one['name']} {one['type']} at {one['target']}: {one['message']}")
    if broker_error:
        output.say(f"broker       {click.style('not reachable', fg='red')}: {broker_error}")
    elif found["dead_letters"]:
        count = click.style(str(found["dead_letters"]), fg="red")
        output.say(f"dead letters {count} (queue dns.dead: messages that could not be handled)")
    output.say()
    if found.get("targets"):
        print_targets(found["targets"])
    else:
        output.say(NO_TARGETS)


def _print_counts(label: str, counts: dict[str, int]) -> None:
    shown = [f"{output.status_word(word)} {count}" for word, count in counts.items() if count]
    output.say(f"{label.ljust(12)} {'  '.join(shown) or 'none'}")
