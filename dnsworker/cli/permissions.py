"""`dnsworker permissions …`: what permissions.yaml says, and why somebody may or may not do something."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dnsworker.cli import output
from dnsworker.cli.program import FAILED, Group
from dnsworker.cli.session import Session, with_session

if TYPE_CHECKING:
    from dnsworker.permissions import Demand, Permissions, Placed, Verdict

#: In place of a user: whoever sends messages without a `user_id`.
NOBODY = "-"
#: About all of a zone.
WHOLE_QUESTIONS = ("show_zone", "export_zone", "show_history")
file_type = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def permissions() -> None:
    """Who may submit what: permissions.yaml."""


@permissions.command()
@click.argument("file", type=file_type, required=False, metavar="[FILE]")
@with_session
def check(session: Session, file: Path | None) -> None:
    """Say what is wrong with FILE, or what it says.

    FILE defaults to DNSWORKER_PERMISSIONS. Workers take a changed file up by themselves, within a second or
    two; one that is wrong changes nothing, and they say so.
    """
    found = _load(session, file)
    rules = _all_rules(found)
    notes = _notes(found)
    if session.as_json:
        output.print_json(
            {"ok": True, "default": found.default, "rules": [_rule(one) for one in rules], "notes": notes}
        )
        return
    output.say(f"default  {found.default}")
    output.print_table(
        ("USER", "RULE", "LINE", "SAYS"), [(one.whose, one.number, one.line, one.rule) for one in rules]
    )
    for note in notes:
        output.say(f"note: {note}", err=True)


@permissions.command()
@click.argument("user")
@click.argument("operation")
@click.argument("zone")
@click.argument("rest", nargs=-1, metavar="[NAME TYPE | 'put www A' …]")
@click.option("--pool", help="The pool that the request names.")
@click.option("--to", help="The pool that move_zone moves to.")
@click.option("--force", is_flag=True, help="With force=True.")
@click.option("--file", type=file_type, help="Another file than DNSWORKER_PERMISSIONS.")
@with_session
def explain(
    session: Session,
    user: str,
    operation: str,
    zone: str,
    rest: tuple[str, ...],
    pool: str | None,
    to: str | None,
    force: bool,
    file: Path | None,
) -> None:
    """Say whether USER may do something, and by which rule, or why not.

    USER is the AMQP user; - is whoever sends messages without one. OPERATION is a task: put_record, with NAME
    and TYPE; change_zone, with its changes as 'put www A'; delete_zone, import_zone and so on; or a question:
    show_zone, export_zone, show_history, list_records. Exit code 1: refused.
    """
    demands = _demands(operation, zone, rest, pool=pool, to=to, force=force)
    found = _load(session, file)
    who = None if user == NOBODY else user
    verdicts = list(found.explain(who, demands))
    is_allowed = all(one.is_allowed for one in verdicts)
    if session.as_json:
        output.print_json(
            {"user": who, "allowed": is_allowed, "demands": [_verdict(one) for one in verdicts]}
        )
    else:
        for one in verdicts:
            output.say(f"{'allowed' if one.is_allowed else 'refused'}  {one.demand}: {one.reason}")
            if not one.is_allowed and one.by is None:
                for placed in found.rules_for(who):
                    output.say(f"  {placed}: {_why_not(placed, one.demand)}")
    if not is_allowed:
        click.get_current_context().exit(FAILED)


def _load(session: Session, file: Path | None) -> Permissions:
    from dnsworker.permissions import load

    path = file or session.settings.permissions
    if path is None:
        raise click.UsageError("which file? Give it, or set DNSWORKER_PERMISSIONS")
    return load(path)


def _demands(
    operation: str, zone: str, rest: tuple[str, ...], *, pool: str | None, to: str | None, force: bool
) -> list[Demand]:
    """What the request would need. Raises `UsageError`, `InvalidName`, `InvalidRecord`."""
    from dnsworker.names import record_name, zone_name
    from dnsworker.permissions import Demand
    from dnsworker.permissions.demand import FORCE, READ, RECORD_WORDS, ZONE_WORDS
    from dnsworker.records import RRset

    apex = zone_name(zone)

    def rrset(word: str, name: str, type_: str | None) -> Demand:
        kind = None if type_ is None else RRset.checked_type(type_)
        return Demand(word, apex, pool, record_name(name, apex), kind)

    record_word = operation.removesuffix("_record")
    if operation == "change_zone":
        wishes = [wish.split() for wish in rest]
        if not wishes or any(len(wish) != 3 or wish[0] not in RECORD_WORDS for wish in wishes):
            raise click.UsageError("change_zone takes its changes like 'put www A' or 'delete @ TXT'")
        demands = [rrset(word, name, type_) for word, name, type_ in wishes]
    elif record_word in RECORD_WORDS and operation.endswith("_record"):
        if len(rest) != 2:
            raise click.UsageError(f"{operation} takes a NAME and a TYPE after the zone")
        demands = [rrset(record_word, *rest)]
    elif operation == "list_records" and rest:
        if len(rest) > 2:
            raise click.UsageError("list_records takes at most a NAME and a TYPE after the zone")
        demands = [rrset(READ, rest[0], rest[1] if len(rest) == 2 else None)]
    elif rest:
        raise click.UsageError(f"{operation} takes nothing after the zone")
    elif operation in (*WHOLE_QUESTIONS, "list_records"):
        demands = [Demand(READ, apex, pool)]
    elif operation in ZONE_WORDS:
        demands = [Demand(operation, apex, pool)]
    else:
        records = [f"{word}_record" for word in RECORD_WORDS]
        tasks = ", ".join([*records, "change_zone", *ZONE_WORDS, *WHOLE_QUESTIONS, "list_records"])
        raise click.UsageError(f"no operation {operation!r}; there are: {tasks}")
    if (operation == "move_zone") != (to is not None):
        raise click.UsageError("--to belongs to move_zone, which needs it")
    if to is not None:
        demands.append(Demand(operation, apex, to))
    return [*demands, Demand(FORCE, apex, pool)] if force else demands


def _why_not(placed: Placed, demand: Demand) -> str:
    if placed.rule.may_not:
        return "it doesn't refuse this"
    if not placed.rule.zone_patterns.match(demand.zone):
        return "it is for other zones"
    return placed.rule.shortfall(demand) or "it allows this"


def _all_rules(found: Permissions) -> list[Placed]:
    return [*(rule for rules in found.users.values() for rule in rules), *found.anonymous, *found.everybody]


def _notes(found: Permissions) -> list[str]:
    notes = []
    if found.default == "open":
        notes.append("default is open: users that aren't named may do everything")
    for user, rules in found.users.items():
        if not any(one.rule.may for one in (*rules, *found.everybody)):
            notes.append(f"{user} may do nothing: no rule of theirs, or of everybody's, says may")
    return notes


def _rule(placed: Placed) -> dict[str, Any]:
    return {
        "user": placed.whose, "number": placed.number, "line": placed.line,
        **placed.rule.model_dump(mode="json", exclude_defaults=True),
    }  # fmt: skip


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "what": str(verdict.demand),
        "allowed": verdict.is_allowed,
        "reason": verdict.reason,
        "rule": verdict.by and _rule(verdict.by),
    }
