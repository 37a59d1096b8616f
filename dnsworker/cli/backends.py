"""`dnsworker backends` and `dnsworker schema`: what this installation can do and understands."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from dnsworker.cli import output
from dnsworker.cli.session import Session, with_session


@click.command()
@with_session
def backends(session: Session) -> None:
    """What each kind of DNS server can do.

    The kinds are what `type` of a target in pools.yaml may say.
    """
    from dnsworker.backend import backend_kinds, load_backend
    from dnsworker.errors import ConfigError

    found: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    for kind in backend_kinds():
        try:
            found[kind] = dataclasses.asdict(load_backend(kind).capabilities)
        except ConfigError as exc:
            missing[kind] = exc.message
    if session.as_json:
        output.print_json({**found, **{kind: {"error": message} for kind, message in missing.items()}})
        return
    rows = [
        (name.replace("_", " "), *(_cell(name, capabilities[name]) for capabilities in found.values()))
        for name in (next(iter(found.values())) if found else ())
    ]
    if rows:
        output.print_table(("CAPABILITY", *found), rows)
    for kind, message in missing.items():
        output.say(f"{kind}: {message}", err=True)


@click.command()
@with_session
def schema(session: Session) -> None:
    """Print the JSON Schema of every task."""
    from dnsworker.requests import json_schema

    output.print_json(json_schema())


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "all" if name == "types" else "no limit"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, frozenset):
        return f"{len(value)} types" if len(value) > 6 else " ".join(sorted(value))
    return str(value)
