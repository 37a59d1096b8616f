"""`dnsworker zone notify`: has the servers that can tell secondaries to look, now.

Separate from the submissions: it changes nothing, so that the command asks the servers itself, within the
budgets that the workers keep.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from dnsworker.cli import output
from dnsworker.cli.program import FAILED
from dnsworker.cli.session import Session, with_session
from dnsworker.cli.zone import pool_option

if TYPE_CHECKING:
    import sqlalchemy as sa

    from dnsworker.metering import Meter
    from dnsworker.pools import Target
    from dnsworker.settings import Settings
    from dnsworker.store.rows import ZoneRow

UNSUPPORTED = "can't be told to"


@click.command()
@click.argument("name", metavar="ZONE")
@pool_option
@with_session
def notify(session: Session, name: str, pool: str | None) -> None:
    """Send NOTIFY for a zone: primaries to their secondaries, secondaries are told to look.

    Runs where the targets can be reached and their credentials read: beside the workers.
    """
    from dnsworker.database import reading
    from dnsworker.names import Name, zone_name
    from dnsworker.reports.zones import find_zone

    wanted = Name(zone_name(name))
    with session.engine() as engine:
        with reading(engine).connect() as connection:
            zone, known = find_zone(connection, wanted, pool)
        found = notify_targets(engine, session.settings, zone, known.pool.targets, known.target_ids)
    if session.as_json:
        output.print_json({"zone": wanted, "targets": found})
    else:
        output.print_table(
            ("TARGET", "RESULT", "DETAIL"),
            [(one["target"], one["result"], one["detail"]) for one in found],
        )
    results = {one["result"] for one in found}
    if "failed" in results or "ok" not in results:
        click.get_current_context().exit(FAILED)


def notify_targets(
    engine: sa.Engine,
    settings: Settings,
    zone: ZoneRow,
    targets: list[Target],
    target_ids: dict[str, int],
) -> list[dict[str, Any]]:
    """What happened at each target: `ok`, `failed`, or `-` where its kind can't."""
    from dnsworker.errors import BackendError, ConfigError
    from dnsworker.metering import Meter

    meter = Meter(engine, settings.redis_url.get_secret_value() if settings.redis_url else None)
    found = []
    try:
        for target in targets:
            try:
                detail = _notify(engine, meter, zone, target, target_ids[target.name])
                result = "-" if detail == UNSUPPORTED else "ok"
            except (BackendError, ConfigError) as exc:
                result, detail = "failed", exc.message
            found.append({"target": target.name, "result": result, "detail": detail})
    finally:
        meter.close()
    return found


def _notify(engine: sa.Engine, meter: Meter, zone: ZoneRow, target: Target, target_id: int) -> str:
    """Raises `BackendError`, `ConfigError`."""
    from dnsworker.backend import load_backend
    from dnsworker.database import reading
    from dnsworker.errors import Busy, RateLimited
    from dnsworker.metering import Metered
    from dnsworker.pools import build_options
    from dnsworker.store import breakers, stops

    with reading(engine).connect() as connection:
        stop = stops.of_delivery(connection, zone.id, target_id)
        rest = breakers.rest_left(connection, target_id)
    if stop is not None:
        raise Busy(stop.reason)
    if rest is not None:
        raise RateLimited(f"{rest[1]}; it rests for {output.duration(rest[0])} more")
    backend = load_backend(target.type)(target.name, build_options(target))
    try:
        if not backend.capabilities.notifies:
            return UNSUPPORTED
        metered, budget = backend, target.limits.budget
        if budget is not None:
            wait_s = meter.reserve(target.name, target_id, budget)
            time.sleep(wait_s)
            metered = Metered(
                backend, lambda: meter.reserve(target.name, target_id, budget),
                paid_at=time.monotonic(), renew_every_s=wait_s + 1,
            )  # fmt: skip
        metered.notify(zone.name)
        return "looks at its primary" if backend.capabilities.pull else "notifies its secondaries"
    finally:
        backend.close()
