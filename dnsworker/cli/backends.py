"""`dnsworker backends` and `dnsworker schema`: what this installation can do and understands."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from dnsworker.cli import output
from dnsworker.cli.session import Session, with_session


@click.command()
@click.option("--markdown", is_flag=True, help="As the table of the documentation.")
@with_session
def backends(session: Session, markdown: bool) -> None:
    """What each kind of DNS server can do.

    The kinds are what `type` of a target in pools.yaml may say.
    """
    found, missing = _declared()
    if session.as_json:
        output.print_json({**found, **{kind: {"error": message} for kind, message in missing.items()}})
        return
    if markdown:
        output.say(capabilities_table())
    elif found:
        output.print_table(("CAPABILITY", *found), _rows(found))
    for kind, message in missing.items():
        output.say(f"{kind}: {message}", err=True)


def capabilities_table(*, only_built_in: bool = False) -> str:
    """The capabilities as a table in Markdown, a column for each kind."""
    from dnsworker.backend import BUILT_IN

    found, _ = _declared()
    if only_built_in:
        found = {kind: found[kind] for kind in found if kind in BUILT_IN}
    lines = [("", *(f"`{kind}`" for kind in found)), ("---",) * (len(found) + 1), *_rows(found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@click.command()
@with_session
def schema(session: Session) -> None:
    """Print the JSON Schema of every task."""
    from dnsworker.requests.schema import json_schema

    output.print_json(json_schema())


def _declared() -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """By kind, what it declares; and why a kind can't be asked."""
    from dnsworker.backend import backend_kinds, load_backend
    from dnsworker.errors import ConfigError

    found: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    for kind in backend_kinds():
        try:
            found[kind] = dataclasses.asdict(load_backend(kind).capabilities)
        except ConfigError as exc:
            missing[kind] = exc.message
    return found, missing


def _rows(found: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    names = next(iter(found.values())) if found else ()
    return [(name.replace("_", " "), *(_cell(name, each[name]) for each in found.values())) for name in names]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "all" if name == "types" else "no limit"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return f"{len(value)} types" if len(value) > 6 else " ".join(sorted(value))
    return str(value)
