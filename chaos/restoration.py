"""PostgreSQL restored from a backup made earlier in the run: what is lost with it, and what must not be.

Lost are the operations taken in between. The nameservers keep all that they had when the old database came
back, until an operation from after the backup says otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from chaos.system import ZONES, System
from chaos.workload import Confirmed, Workload
from dev.model import Creation
from dev.readback import held, holders
from dnsworker.contents import ZoneContents
from dnsworker.names import Name
from dnsworker.records import Key
from dnsworker.store.deliveries import BLOCKED
from dnsworker.tables import delivery, journal, operation, target, zone

#: Target and zone.
Place = tuple[str, str]


@dataclass
class Restoration:
    """One backup and the time until it was restored."""

    #: Operations in the database before the backup began: none of these may be lost.
    safe: frozenset[str]
    #: Up to which revision each target had each zone then.
    delivered: Mapping[Place, int]
    #: What the targets had when the database was away, just before it was the old one; and their lives.
    held: dict[Place, ZoneContents | None] = field(default_factory=dict)
    lives: dict[str, int] = field(default_factory=dict)
    #: When it was away, by the monotonic clock. What was confirmed earlier may be lost.
    at: float = 0.0
    is_judged: bool = False

    @classmethod
    def begin(cls, system: System) -> Restoration:
        with system.engine.connect() as connection:
            safe = frozenset(connection.execute(sa.select(operation.c.id)).scalars())
            query = (
                sa.select(target.c.name, zone.c.name, delivery.c.delivered_revision)
                .join(target, target.c.id == delivery.c.target_id)
                .join(zone, zone.c.id == delivery.c.zone_id)
            )
            delivered = {(row[0], row[1]): row[2] for row in connection.execute(query)}
        return cls(safe, delivered)

    def note_what_is_held(self, system: System) -> None:
        """To be called while the database is away."""
        self.held, self.lives, self.at = _held(system), dict(system.lives), time.monotonic()

    def may_lose(self, operation_id: str, confirmed_at: float) -> bool:
        return operation_id not in self.safe and confirmed_at <= self.at

    def losses(self, system: System) -> Iterator[str]:
        """What a target has lost since, though no operation that the database knows of says so."""
        now = _held(system)
        with system.engine.connect() as connection:
            changed = {name: _changes(connection, name) for name in ZONES}
        for place, before in self.held.items():
            if before is None or self.lives[place[0]] != system.lives[place[0]]:
                continue
            since = self.delivered.get(place, 0)
            explained = {key for key, revision in changed[place[1]].items() if revision > since}
            yield from (f"{place[0]}: {words}" for words in _missing(before, now[place], explained))


def lost_operations(system: System, confirmed: Iterable[Confirmed]) -> list[str]:
    """The ids of those that went with a database that was replaced, and that may have."""
    with system.engine.connect() as connection:
        kept = set(connection.execute(sa.select(operation.c.id)).scalars())
    return [
        one.id
        for one in confirmed
        if one.id not in kept and any(r.may_lose(one.id, one.at) for r in system.restorations)
    ]


def blocked_zones(system: System) -> set[str]:
    """Those to which nothing is written at some target until an operator decides."""
    query = sa.select(zone.c.name).join(delivery, delivery.c.zone_id == zone.c.id)
    with system.engine.connect() as connection:
        return set(connection.execute(query.where(delivery.c.state.in_(BLOCKED))).scalars())


def settle(system: System, workload: Workload) -> list[str]:
    """What an operator does after a restore: look what was lost, then have the database's side everywhere.

    Returns what there is to say of it.
    """
    lost = set(lost_operations(system, workload.confirmed))
    with system.engine.connect() as connection:
        codes = dict(connection.execute(sa.select(operation.c.id, operation.c.code)).tuples().all())
    blocked = blocked_zones(system)
    for client in workload.clients:
        client.replay(lost, codes)
        for name, model in client.models.items():
            if model.exists and name in blocked:
                client.touch(name, force=True)
            elif not model.exists and name in blocked:
                _retry_deletion(system, name)
            elif not model.exists and holders(system.pool_yaml, Name(name)):
                client.submit(name, Creation(force=True))
    return [f"{len(lost)} operations were lost with a restore; an operator decided on {len(blocked)} zones"]


def _retry_deletion(system: System, name: str) -> None:
    query = sa.select(operation.c.id).where(
        operation.c.zone == name, operation.c.kind == "delete_zone", operation.c.status == "ACCEPTED"
    )
    with system.engine.connect() as connection:
        for id_ in connection.execute(query).scalars():
            system.stack.run("operation", "retry", id_)


def _missing(before: ZoneContents, now: ZoneContents | None, explained: Collection[Key]) -> Iterator[str]:
    apex = (before.name, "NS")
    if apex in explained:  # the zone was deleted, or created anew
        return
    if now is None:
        yield f"{before.name} is gone"
        return
    for key, rrset in before.rrsets.items():
        if key not in explained and now.rrsets.get(key) != rrset:
            yield f"{rrset} became {now.rrsets.get(key)}"


def _held(system: System) -> dict[Place, ZoneContents | None]:
    return {
        (name, zone_name): contents
        for zone_name in ZONES
        for name, contents in held(system.pool_yaml, Name(zone_name)).items()
    }


def _changes(connection: sa.Connection, name: str) -> dict[Key, int]:
    """The latest revision of each RRset of the zone that was ever changed."""
    query = (
        sa.select(journal.c.name, journal.c.type, sa.func.max(journal.c.revision))
        .join(zone, zone.c.id == journal.c.zone_id)
        .where(zone.c.name == name)
        .group_by(journal.c.name, journal.c.type)
    )
    return {(Name(row[0]), row[1]): row[2] for row in connection.execute(query)}
