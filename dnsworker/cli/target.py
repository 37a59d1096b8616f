"""`dnsworker target …`: what each server or account is doing, and whether it is to do anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from dnsworker.cli import output
from dnsworker.cli.program import Group
from dnsworker.cli.session import Session, with_session
from dnsworker.errors import ConfigError

if TYPE_CHECKING:
    import sqlalchemy as sa

NO_TARGETS = "no targets; write a pools.yaml and run `dnsworker pool apply pools.yaml`"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_PAUSE_S = 366 * 86400
MAX_REASON = 500


def checked_duration(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """`90s`, `15m`, `1h30m`, `2d`, in seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", value)
    parts = found.groups() if found else ()
    seconds = sum(int(part) * UNITS[unit] for part, unit in zip(parts, "dhms", strict=False) if part)
    if not 0 < seconds <= MAX_PAUSE_S:
        raise click.BadParameter(f"{value!r} is no duration of up to a year, such as 90s, 15m, 1h30m or 2d")
    return float(seconds)


def checked_reason(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """One line that any database takes."""
    if value is None:
        return None
    line = " ".join(value.split())
    if len(line) > MAX_REASON or not line.isprintable():
        raise click.BadParameter(f"give one printable line of at most {MAX_REASON} characters")
    return line or None


reason_option = click.option(
    "--reason", callback=checked_reason, metavar="TEXT", help="Shown wherever somebody waits for it."
)
all_option = click.option("--all", "is_all", is_flag=True, help="All targets, those added later included.")


@click.group(cls=Group)
def target() -> None:
    """The servers and accounts that zones are written to."""


@target.command("show")
@click.argument("name", required=False)
@with_session
def show_target(session: Session, name: str | None) -> None:
    """What each target (or one) is doing: backlog, breaker, last error."""
    from dnsworker.reports.system import show_targets
    from dnsworker.store import stops

    with session.connection() as connection:
        found = show_targets(connection)
        everything = stops.of_all(connection)
    if name is not None:
        one = next((each for each in found if each["name"] == name), None)
        if one is None:
            raise _unknown(name, [each["name"] for each in found])
    if session.as_json:
        output.print_json(found if name is None else one)
        return
    if everything is not None:
        say_all_paused(everything.reason)
    if not found:
        output.say(NO_TARGETS)
    elif name is None:
        print_targets(found)
    else:
        assert one is not None
        output.say(f"{one['name']}  breaker {output.status_word(str(one['breaker']))}")
        shown = {key: value for key, value in one.items() if key not in ("name", "breaker")}
        output.print_fields(
            [(key.replace("_", " "), _field(key, value)) for key, value in shown.items()], indent="  "
        )


@target.command()
@click.argument("name", required=False)
@all_option
@click.option(
    "--for", "for_s", callback=checked_duration, metavar="TIME",
    help="90s, 15m, 1h …  [default: until resumed]",
)  # fmt: skip
@reason_option
@with_session
def pause(session: Session, name: str | None, is_all: bool, for_s: float | None, reason: str | None) -> None:
    """Send nothing to a target, or with --all to any, for a while or until it is resumed.

    What is to be done waits, and goes on by itself afterwards. A delivery under way stops before its next
    request. Pausing again changes time and reason.
    """
    from dnsworker.store import stops
    from dnsworker.tables import delivery

    _check_named(name, is_all)
    with session.connection(writes=True) as connection:
        if name is None:
            until = stops.pause_all(connection, for_s, reason)
            busy = stops.under_way(connection, delivery.c.target_id.is_not(None))
        else:
            target_id = _find(connection, name)
            until = stops.pause_target(connection, target_id, for_s, reason)
            busy = stops.under_way(connection, delivery.c.target_id == target_id)
    told = stops.paused_text(until, reason)
    if session.as_json:
        output.print_json({"target": name, "paused": told, "paused_until": until, "under_way": busy})
        return
    output.say(f"{name or 'all targets'}  {told}")
    say_under_way(busy)


@target.command()
@click.argument("name", required=False)
@all_option
@with_session
def resume(session: Session, name: str | None, is_all: bool) -> None:
    """End the pause of a target, or with --all the one of all.

    What was paused by its own name stays so after --all.
    """
    from dnsworker.store import pools, stops

    _check_named(name, is_all)
    with session.connection(writes=True) as connection:
        everything = stops.of_all(connection)
        paused = stops.of_targets(connection)
        known = {key: one for one, key in pools.target_ids(connection).items()}
        if name is None:
            others = [known[key] for key in paused.keys() & known.keys()]
            targets = stops.begin_afresh(connection, known.keys() - paused.keys())
            was_paused = stops.resume_all(connection)
        else:
            if everything is not None:
                raise ConfigError(f"{everything.reason}: that ends with `dnsworker target resume --all`")
            target_id, others = _find(connection, name), []
            targets = stops.begin_afresh(connection, [target_id])
            was_paused = stops.resume_target(connection, target_id)
    is_told = session.wake(targets)
    if session.as_json:
        output.print_json(
            {"target": name, "was_paused": was_paused, "due_now": targets, "still_paused": sorted(others)}
        )
        return
    due = f"due now at {', '.join(targets)}" if targets else "nothing is due"
    output.say(f"{name or 'all targets'}  {'resumed' if was_paused else 'not paused'}, {due}")
    for other in sorted(others):
        output.say(f"still paused by its own name: {other}")
    say_if_untold(is_told)


def say_all_paused(reason: str) -> None:
    """Nobody may overlook this."""
    output.say(click.style(f"ALL WRITES ARE OFF: {reason}", fg="red", bold=True))
    output.say(click.style("that ends with `dnsworker target resume --all`", fg="red"))


def say_under_way(count: int) -> None:
    if count:
        output.say(f"under way: {count}; each stops before its next request")


def say_if_untold(is_told: bool) -> None:
    if not is_told:
        output.say("no worker could be told (the broker is away): the next sweep takes it up", err=True)


def _check_named(name: str | None, is_all: bool) -> None:
    if (name is None) != is_all:
        raise click.UsageError("give NAME or --all")


def _find(connection: sa.Connection, name: str) -> int:
    from dnsworker.store import pools

    known = pools.target_ids(connection)
    if name not in known:
        raise _unknown(name, known)
    return known[name]


def _unknown(name: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(f"no target {name!r}; there are: {', '.join(sorted(known)) or 'none'}")


def print_targets(targets: list[dict[str, Any]], *, indent: str = "") -> None:
    """Backlog and breaker of each target; budgets and rests where there are any."""
    columns: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
        ("TARGET", lambda one: one["name"]),
        ("TYPE", lambda one: one.get("type")),
        ("POOL", lambda one: one["pool"]),
        ("BACKLOG", lambda one: one["backlog"]),
        ("FAILING", lambda one: one["failing"]),
        ("BLOCKED", lambda one: one["blocked"]),
        ("BREAKER", lambda one: one["breaker"]),
    ]
    if any(one.get("repairs") for one in targets):
        columns.insert(4, ("REPAIRS", lambda one: one["repairs"]))
    if any(one.get("requests_per_second") for one in targets):
        columns.append(("BUDGET", _budget))
    if any(one.get("rests_until") for one in targets):
        columns.append(("RESTS UNTIL", lambda one: output.ago(one.get("rests_until"))))
    if any(one.get("paused") for one in targets):
        columns.append(("PAUSED", _paused))
    if any(one.get("purging_since") for one in targets):
        columns.append(("PURGED", _purged))
    columns.append(("LAST ERROR", _last_error))
    rows = [tuple(read(one) for _, read in columns) for one in targets]
    output.print_table(tuple(title for title, _ in columns), rows, indent=indent)


def _paused(one: dict[str, Any]) -> str:
    if not one.get("paused"):
        return ""
    until = output.ago(one.get("paused_until"))
    return f"ends {until}" if until else "until resumed"


def _purged(one: dict[str, Any]) -> str:
    return f"{one['zones_left']} zones left" if one.get("purging_since") else ""


def _budget(one: dict[str, Any]) -> str:
    rate = one.get("requests_per_second")
    return f"{rate:g}/s" if rate else ""


def _last_error(one: dict[str, Any]) -> str:
    if not one.get("last_error"):
        return ""
    return f"{one['last_error']} ({output.ago(one.get('last_error_at')) or 'once'})"


def _field(key: str, value: Any) -> Any:
    return output.ago(value) if key.endswith(("_at", "_until", "_since")) else value
