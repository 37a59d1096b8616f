"""`dnsworker pool …`: where zones go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dnsworker.cli import output
from dnsworker.cli.program import FAILED, Group
from dnsworker.cli.session import Session, with_session
from dnsworker.cli.target import NO_TARGETS
from dnsworker.errors import ConfigError, PoolNotFound

if TYPE_CHECKING:
    from dnsworker.pools import Pool

file_argument = click.argument(
    "file", type=click.Path(dir_okay=False, path_type=Path), required=False, metavar="[FILE]"
)


@click.group(cls=Group)
def pool() -> None:
    """Show, check and apply pools.yaml.

    A pool is a set of targets that hold the same zones, and the nameservers that answer for them.
    """


@pool.command()
@click.argument("name", required=False)
@with_session
def show(session: Session, name: str | None) -> None:
    """The pools as applied, secrets masked."""
    from dnsworker.store import pools as store

    with session.connection() as connection:
        pools = [known.pool for known in store.read(connection)]
    if name is not None:
        pools = [one for one in pools if one.name == name]
        if not pools:
            raise PoolNotFound(f"no pool {name!r}")
    if session.as_json:
        output.print_json([one.to_public() for one in pools])
        return
    if not pools:
        output.say(NO_TARGETS.replace("targets", "pools", 1))
    for position, one in enumerate(pools):
        if position:
            output.say()
        _print_pool(one)


@pool.command()
@file_argument
@with_session
def check(session: Session, file: Path | None) -> None:
    """Tell what is wrong with pools, their targets and nameservers, and what to do about it.

    FILE defaults to DNSWORKER_POOLS, and without that to the pools as applied. Asks each target and
    nameserver, and compares what they can do with the zones that the pools have.
    """
    from dnsworker.cli.checking import run_checks

    notes: list[str] = []
    path = file or session.settings.pools
    results = run_checks(session, _load(path, notes) if path is not None else None, notes)
    ok = all(result.ok for result in results)
    if session.as_json:
        output.print_json({"ok": ok, "notes": notes, "checks": [result.to_json() for result in results]})
    else:
        for note in notes:
            output.say(f"note: {note}", err=True)
        output.print_table(
            ("POOL", "WHAT", "NAME", "RESULT", "DETAIL"),
            [(one.pool, one.what, one.name, "ok" if one.ok else "failed", one.message) for one in results],
        )
    if not ok:
        click.get_current_context().exit(FAILED)


@pool.command()
@file_argument
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--detach", is_flag=True, help="Leave the zones of a target that FILE has lost there.")
@click.option("--purge", is_flag=True, help="Remove them there, in the background, and then the target.")
@with_session
def apply(session: Session, file: Path | None, dry_run: bool, detach: bool, purge: bool) -> None:
    """Make FILE (default: DNSWORKER_POOLS) the pools of this system.

    A target that FILE has lost and that holds zones is refused without --detach or --purge. `target show`
    tells how far a purge is; --detach ends it.
    """
    from dnsworker.store import pools as store

    if detach and purge:
        raise click.UsageError("give --detach or --purge, not both")
    path = file or session.settings.pools
    if path is None:
        raise click.UsageError("which file? Give FILE or set DNSWORKER_POOLS")
    notes: list[str] = []
    pools = _load(path, notes, checks_options=True)
    with session.connection(writes=True) as connection:
        done = store.apply(connection, pools, detach=detach, purge=purge, dry_run=dry_run).lines
    if session.as_json:
        output.print_json({"dry_run": dry_run, "notes": notes, "changes": done})
        return
    for note in notes:
        output.say(f"note: {note}", err=True)
    for line in done:
        output.say(f"{'would: ' if dry_run else ''}{line}")
    if not done:
        output.say("nothing to change")


def _load(path: Path, notes: list[str], *, checks_options: bool = False) -> list[Pool]:
    from dnsworker.pools import load_pools

    pools = load_pools(path, notes=notes, checks_options=checks_options)
    if not pools:
        raise ConfigError(f"{path} has no pools")
    return pools


def _print_pool(one: Pool) -> None:
    output.say(f"{one.name}  {one.description}".rstrip())
    output.print_fields(
        [
            ("ns records", " ".join(record.hostname for record in one.ns_records)),
            ("threshold", f"{one.threshold_percentage} %"),
            ("on drift", one.on_drift),
            *(("ignores", f"{each.name} {' '.join(each.types)}".rstrip()) for each in one.ignore),
        ],
        indent="  ",
    )
    public = one.to_public()
    output.print_table(
        ("TARGET", "TYPE", "LIMITS", "OPTIONS"),
        [
            (
                each["name"], each["type"],
                " ".join(f"{key}={value:g}" for key, value in each["limits"].items() if value is not None),
                " ".join(f"{key}={_option(value)}" for key, value in each["options"].items()),
            )
            for each in public["targets"]
        ],
        indent="  ",
    )  # fmt: skip
    if one.nameservers:
        output.print_table(
            ("NAMESERVER", "SERVES", "VERIFY", "TSIG KEY"),
            [
                (
                    each.address,
                    each.target or "all targets",
                    each.verify,
                    each.tsig_key and each.tsig_key.name,
                )
                for each in one.nameservers
            ],
            indent="  ",
        )


def _option(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_option(inner)}" for key, inner in value.items()) + "}"
    return str(value)
