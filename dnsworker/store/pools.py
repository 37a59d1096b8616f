"""Pools as applied, and the directory that keeps them at hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from dnsworker.capabilities import Capabilities
from dnsworker.database import reading
from dnsworker.errors import ConfigError, PoolNotFound
from dnsworker.pools import Pool, Target, capabilities_of
from dnsworker.store import purges
from dnsworker.store.agenda import REPAIR
from dnsworker.store.rows import insert_or_ignore
from dnsworker.tables import delivery, now, pool, target, zone

REFRESH_S = 2.0


@dataclass(frozen=True)
class KnownPool:
    """A pool with the keys of its rows."""

    id: int
    version: int
    pool: Pool
    #: Target name → id, in the pool's order; removed targets left out.
    target_ids: dict[str, int]

    @cached_property
    def target_names(self) -> dict[int, str]:
        """Target id → name."""
        return {target_id: name for name, target_id in self.target_ids.items()}

    @cached_property
    def capabilities(self) -> dict[str, Capabilities]:
        """What each target can do; one whose backend isn't installed here, or won't have its options, is
        left out: the worker that delivers says so."""
        found = {}
        for one in self.pool.targets:
            with suppress(ConfigError):
                found[one.name] = capabilities_of(one)
        return found

    def compares(self, target: str) -> bool:
        """Whether zones in which nothing changes are to be looked at there."""
        can = self.capabilities.get(target)
        return self.pool.on_drift != "ignore" and can is not None and can.reads_back


@dataclass(slots=True)
class Applied:
    """What `apply` did, or with a dry run would do, one line each."""

    lines: list[str] = field(default_factory=list)


class PoolDirectory:
    """All pools, read again when they are older than `REFRESH_S`. Safe for threads."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = reading(engine)
        self._lock = threading.Lock()
        self._pools: dict[int, KnownPool] = {}
        self._purging: dict[str, KnownPool] = {}
        self._read_at = float("-inf")

    def all(self) -> list[KnownPool]:
        with self._lock:
            if time.monotonic() - self._read_at > REFRESH_S:
                with self._engine.connect() as connection:
                    self._pools = {known.id: known for known in read(connection)}
                    self._purging = read_purging(connection)
                self._read_at = time.monotonic()
            return list(self._pools.values())

    def forget(self) -> None:
        """Read again next time."""
        with self._lock:
            self._read_at = float("-inf")

    def get(self, pool_id: int) -> KnownPool:
        found = self._find(lambda known: known.id == pool_id)
        if found is None:
            raise PoolNotFound(f"no pool with id {pool_id}")
        return found

    def by_name(self, name: str) -> KnownPool:
        found = self._find(lambda known: known.pool.name == name)
        if found is None:
            raise PoolNotFound(f"no pool {name!r}; {_there_are([known.pool.name for known in self.all()])}")
        return found

    def _find(self, is_it: Callable[[KnownPool], bool]) -> KnownPool | None:
        """Before a pool is said to be missing all are read again: it may have been applied a moment ago."""
        found = next(filter(is_it, self.all()), None)
        if found is None:
            self.forget()
            found = next(filter(is_it, self.all()), None)
        return found

    def default(self) -> KnownPool:
        """The pool for a new zone of which nobody said where: `default`, or the only one."""
        pools = self.all()
        if not pools:
            self.forget()
            pools = self.all()
        named = [known for known in pools if known.pool.name == "default"]
        if named:
            return named[0]
        if len(pools) == 1:
            return pools[0]
        if not pools:
            raise PoolNotFound("no pool was applied yet: write a pools.yaml and run `dnsworker pool apply`")
        raise PoolNotFound(f"say which pool with pool=; {_there_are([known.pool.name for known in pools])}")

    def of_target(self, name: str) -> KnownPool | None:
        """None where no pool has it: it may have been removed a moment ago."""
        return next((known for known in self.all() if name in known.target_ids), self._purging.get(name))

    def target_names(self) -> list[str]:
        """All targets of all pools, and those that are being purged."""
        return [name for known in self.all() for name in known.target_ids] + list(self._purging)


def are_current(connection: sa.Connection, several: Iterable[KnownPool]) -> bool:
    """Whether none of them was applied anew since it was read."""
    versions = {known.id: known.version for known in several}
    query = sa.select(pool.c.id, pool.c.version).where(pool.c.id.in_(versions))
    return versions == {row.id: row.version for row in connection.execute(query)}


def read(connection: sa.Connection) -> list[KnownPool]:
    """All pools with their targets."""
    rows = connection.execute(sa.select(pool).order_by(pool.c.name)).all()
    targets = connection.execute(
        sa.select(target.c.id, target.c.pool_id, target.c.name).where(target.c.is_removed.is_(False))
    ).all()
    found = []
    for row in rows:
        parsed = Pool.from_document(row.document)
        ids = {entry.name: entry.id for entry in targets if entry.pool_id == row.id}
        in_order = {one.name: ids[one.name] for one in parsed.targets if one.name in ids}
        found.append(KnownPool(row.id, row.version, parsed, in_order))
    return found


def read_purging(connection: sa.Connection) -> dict[str, KnownPool]:
    """The targets that are being purged, by name: each with the pool that it has left, as its only target."""
    gone = purges.rows(connection)
    if not gone:
        return {}
    known = {entry.id: entry for entry in read(connection)}
    found = {}
    for row in gone:
        entry = known[row.pool_id]
        left = entry.pool.model_copy(update={"targets": [Target.model_validate(row.purging)]})
        found[row.name] = KnownPool(entry.id, entry.version, left, {row.name: row.id})
    return found


def target_ids(connection: sa.Connection) -> dict[str, int]:
    """All targets of all pools, and those that are being purged."""
    every = [*read(connection), *read_purging(connection).values()]
    return {name: key for entry in every for name, key in entry.target_ids.items()}


def apply(
    connection: sa.Connection,
    pools: Sequence[Pool],
    *,
    detach: bool = False,
    purge: bool = False,
    dry_run: bool = False,
) -> Applied:
    """Make the stored pools those of the file. Raises `ConfigError` before anything is changed.

    A new target gets all of its pool's zones, and a pool that the file leaves out stays. A target that still
    holds zones is not removed; with `detach` it is, and keeps them as they are; with `purge` it is when all
    of them are removed there (`store.purges`).
    """
    known = {entry.pool.name: entry for entry in read(connection)}
    purging = read_purging(connection)
    owners = {name: entry.pool.name for entry in known.values() for name in entry.target_ids}
    owners |= {name: entry.pool.name for name, entry in purging.items()}
    for wanted in pools:
        for one in wanted.targets:
            if owners.get(one.name, wanted.name) != wanted.name:
                raise ConfigError(f"target {one.name} belongs to pool {owners[one.name]}; names are unique")
        if not (detach or purge):
            _refuse_removals(connection, known.get(wanted.name), wanted)
    done = Applied()
    for wanted in pools:
        current = known.get(wanted.name)
        names = {one.name for one in wanted.targets}
        for name, entry in purging.items():
            if entry.pool.name == wanted.name and name not in names:
                done.lines.append(_purge_goes_on(connection, entry, name, detach=detach, dry_run=dry_run))
        if current is None:
            done.lines.append(f"pool {wanted.name}: new, targets {', '.join(t.name for t in wanted.targets)}")
        elif current.pool.to_document() == wanted.to_document():
            done.lines.append(f"pool {wanted.name}: unchanged (version {current.version})")
            continue
        else:
            done.lines.append(
                f"pool {wanted.name}: changed, version {current.version} → {current.version + 1}"
            )
        for name, target_id in _removed(current, wanted):
            assert current is not None
            is_purge = purge and purges.holds(connection, target_id) > 0
            say = _purge if is_purge else _removal
            done.lines.append(say(connection, name, target_id, current.pool))
            if not dry_run and is_purge:
                purges.begin(connection, target_id, current.pool.target(name))
            elif not dry_run:
                purges.forget(connection, target_id)
        if not dry_run:
            done.lines += _store(connection, wanted, current)
    done.lines += [
        f"pool {name}: not in the file, stays as it is"
        for name in known
        if name not in {p.name for p in pools}
    ]
    return done


def _store(connection: sa.Connection, wanted: Pool, current: KnownPool | None) -> list[str]:
    values: dict[str, Any] = {"document": wanted.to_document(), "applied_at": now()}
    if current is None:
        insert_or_ignore(connection, pool, [{"name": wanted.name, "version": 1, **values}])
    else:
        connection.execute(
            sa.update(pool).where(pool.c.id == current.id).values(version=current.version + 1, **values)
        )
        # Other nameservers or another threshold: what isn't right yet may be right by them.
        connection.execute(
            sa.update(zone)
            .where(zone.c.pool_id == current.id, zone.c.status.not_in(("ACTIVE", "DELETED")))
            .values(look_at=now(), looks=0)
        )
    pool_id = connection.execute(sa.select(pool.c.id).where(pool.c.name == wanted.name)).scalar_one()
    said = []
    for one in wanted.targets:
        insert_or_ignore(
            connection, target, [{"pool_id": pool_id, "name": one.name, "is_removed": False, "failures": 0}]
        )
        row = connection.execute(sa.select(target).where(target.c.name == one.name)).one()
        if row.is_removed:  # a worker may have gone on with it for a moment after its removal
            purges.forget_deliveries(connection, row.id)
        if row.purging_since is not None:
            said.append(f"target {one.name}: no longer purged")
            purges.call_off(connection, row.id)
        connection.execute(
            sa.update(target).where(target.c.id == row.id).values(is_removed=False, pool_id=pool_id)
        )
        # A change of address or key deserves a fresh try at once.
        connection.execute(sa.update(target).where(target.c.id == row.id).values(failures=0, open_until=None))
        count = _start_deliveries(connection, pool_id, row.id)
        if count:
            said.append(f"target {one.name}: {count} zones to deliver")
    return said


def _start_deliveries(connection: sa.Connection, pool_id: int, target_id: int) -> int:
    """Zones of the pool that the target has never had are due there."""
    missing = (
        sa.select(
            zone.c.id, sa.literal(target_id), sa.literal("present"), zone.c.revision, sa.literal("never"),
            sa.literal(0), sa.false(), sa.false(), sa.literal(0), sa.literal(0), now(), sa.literal(REPAIR),
        )
        .outerjoin(delivery, sa.and_(delivery.c.zone_id == zone.c.id, delivery.c.target_id == target_id))
        .where(zone.c.pool_id == pool_id, zone.c.is_deleted.is_(False), delivery.c.zone_id.is_(None))
    )  # fmt: skip
    # Of what is being deleted it never had anything: nobody has to wait for its word.
    leaving = (
        sa.select(
            zone.c.id, sa.literal(target_id), sa.literal("absent"), zone.c.revision, sa.literal("never"),
            zone.c.revision, sa.false(), sa.false(), sa.literal(0), sa.literal(0), sa.null(),
            sa.literal(REPAIR),
        )
        .outerjoin(delivery, sa.and_(delivery.c.zone_id == zone.c.id, delivery.c.target_id == target_id))
        .where(
            zone.c.pool_id == pool_id, zone.c.is_deleted.is_(True), zone.c.status != "DELETED",
            delivery.c.zone_id.is_(None),
        )
    )  # fmt: skip
    columns = [
        "zone_id", "target_id", "goal", "wanted_revision", "state",
        "delivered_revision", "must_read", "force", "epoch", "attempts", "due_at", "priority",
    ]  # fmt: skip
    connection.execute(sa.insert(delivery).from_select(columns, leaving))
    return connection.execute(sa.insert(delivery).from_select(columns, missing)).rowcount


def _removed(current: KnownPool | None, wanted: Pool) -> list[tuple[str, int]]:
    """The targets that the file has lost."""
    names = {one.name for one in wanted.targets}
    found = current.target_ids if current else {}
    return [(name, target_id) for name, target_id in found.items() if name not in names]


def _refuse_removals(connection: sa.Connection, current: KnownPool | None, wanted: Pool) -> None:
    for name, target_id in _removed(current, wanted):
        if held := purges.holds(connection, target_id):
            raise ConfigError(
                f"pool {wanted.name}: target {name} is not in the file and still holds {held} zones: apply "
                "with --purge, which removes them there first, or with --detach, which leaves them there"
            )


def _purge(connection: sa.Connection, name: str, target_id: int, pool: Pool) -> str:
    held, rate = purges.holds(connection, target_id), pool.target(name).limits.repairs_per_second
    return (
        f"target {name}: leaves pool {pool.name} and is purged: its {held} zones are removed there, "
        f"{rate:g} a second at most"
    )


def _purge_goes_on(
    connection: sa.Connection, known: KnownPool, name: str, *, detach: bool, dry_run: bool
) -> str:
    """What becomes of a target that is being purged, and that the file has lost before."""
    target_id = known.target_ids[name]
    if not detach:
        return f"target {name}: is being purged, {purges.holds(connection, target_id)} zones left"
    said = _removal(connection, name, target_id, known.pool)
    if not dry_run:
        purges.forget(connection, target_id)
    return said


def _removal(connection: sa.Connection, name: str, target_id: int, pool: Pool) -> str:
    open_ones = sa.select(sa.func.count()).select_from(delivery)
    open_ones = open_ones.where(delivery.c.target_id == target_id, delivery.c.due_at.is_not(None))
    count = connection.execute(open_ones).scalar_one()
    forgotten = f"; {count} deliveries that were due are forgotten" if count else ""
    held = purges.holds(connection, target_id)
    detached = f", {held} zones stay there as they are" if held else ""
    return f"target {name}: removed from pool {pool.name}{detached}{forgotten}"


def _there_are(names: Any) -> str:
    return "there are: " + ", ".join(sorted(names)) if names else "no pool was applied yet"
