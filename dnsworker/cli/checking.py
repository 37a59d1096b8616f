"""What `pool check` has from the database, where there is one: pools as applied, what their zones hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dnsworker.cli.health import Check, check_pools
from dnsworker.cli.session import Session
from dnsworker.errors import ConfigError

if TYPE_CHECKING:
    from dnsworker.names import Name
    from dnsworker.pools import Pool
    from dnsworker.store.holdings import Holdings


def run_checks(session: Session, pools: list[Pool] | None, notes: list[str]) -> list[Check]:
    """Check these pools (None: those as applied). What couldn't be looked at is added to `notes`.

    Raises `ConfigError`, and the database's errors, where there are no other pools than its own.
    """
    try:
        from dnsworker.database import AWAY
    except ModuleNotFoundError:
        if pools is None:
            raise
        notes.append("what the zones hold is not looked at: pip install 'dnsworker[worker]'")
        return check_pools(pools, session.settings)
    try:
        stored, held = _read(session, pools)
    except (ConfigError, *AWAY) as exc:
        if pools is None:
            raise
        reason = str(getattr(exc, "orig", None) or exc).strip().partition("\n")[0]
        notes.append(f"what the zones hold is not looked at: {reason}")
        return check_pools(pools, session.settings)
    checked = stored if pools is None else pools
    names = {pool.name for pool in checked}
    return check_pools(
        checked,
        session.settings,
        holdings=held,
        others=[pool for pool in stored if pool.name not in names],
        in_both=lambda one, other: _in_both(session, one, other),
    )


def _read(session: Session, pools: list[Pool] | None) -> tuple[list[Pool], dict[str, Holdings]]:
    from dnsworker.store import holdings
    from dnsworker.store import pools as store

    with session.connection() as connection:
        stored = [known.pool for known in store.read(connection)]
        checked = stored if pools is None else pools
        return stored, {pool.name: holdings.of_pool(connection, pool.name) for pool in checked}


def _in_both(session: Session, one: str, other: str) -> list[Name]:
    from dnsworker.store import holdings

    with session.connection() as connection:
        return holdings.in_both(connection, one, other)
