"""What one transaction makes of zones: read once, changed in memory, written in few statements.

Separate so that a hundred operations on fifty zones cost about as many statements as one on one. Every zone
in it is locked until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from dnsworker import names, placement
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset
from dnsworker.store import deliveries, journal, withholding, zones
from dnsworker.store.deliveries import Wanted
from dnsworker.store.journal import Appended
from dnsworker.store.rows import ZoneRow

#: How long after a change the sweep looks whether somebody took care of it.
LOOK_GUARD_S = 10.0
#: Names of which an import asks whether they are zones, beyond which all zones are looked at instead.
MANY = 1_000
#: Where an RRset is: the zone's id, and the RRset's owner.
Place = tuple[int, Name]


class Contended(Exception):
    """Somebody else is at work on a zone that has just come into being: begin again."""


class Draft:
    """The zones of one transaction as it will leave them. Nothing is written before `flush`."""

    def __init__(self, connection: sa.Connection, before_flush: Callable[[], None] = lambda: None) -> None:
        """`before_flush` writes what the rows of a flush refer to."""
        self.connection, self._before_flush = connection, before_flush
        self._zones: dict[int, ZoneRow] = {}
        #: By name, the ids of those.
        self._ids: dict[Name, dict[int, None]] = {}
        self._changed: set[int] = set()
        self._created: set[int] = set()
        self._deleted: set[int] = set()
        #: By place, what is there; places that aren't in it weren't read yet.
        self._rrsets: dict[Place, dict[str, RRset]] = {}
        #: By place and type, what is to be written; None: removed.
        self._put: dict[Place, dict[str, RRset | None]] = {}
        self._journal: list[Appended] = []
        self._wanted: dict[tuple[int, int], Wanted] = {}
        #: Names about which it is known whether they are zones, and those that are, by pool.
        self._asked: set[tuple[int, Name]] = set()
        self._living: set[tuple[int, Name]] = set()

    # --- zones -----------------------------------------------------------------------------------------

    def hold(self, rows: Iterable[ZoneRow]) -> None:
        """Take in zones that the transaction has locked."""
        for row in rows:
            self._zones[row.id] = row
            self._ids.setdefault(row.name, {})[row.id] = None
            self._note_living(row)

    def zone(self, zone_id: int) -> ZoneRow:
        """The zone, locked."""
        if zone_id not in self._zones:
            self.hold([zones.lock(self.connection, zone_id)])
        return self._zones[zone_id]

    def named(self, name: Name, pool_ids: Collection[int] | None = None) -> list[ZoneRow]:
        """The zones of that name, deleted ones included, in the given pools (None: in all); locked.

        Whoever asks may hold locks that come after zones, so nobody is waited for. Raises `Contended`.
        """
        held = [self._zones[zone_id] for zone_id in self._ids.get(name, ())]
        if not held:
            ids = zones.ids_named(self.connection, [name])[name]
            held = zones.lock_all(self.connection, ids, wait=False)
            if len(held) < len(ids):
                raise Contended
            self.hold(held)
        return [row for row in held if pool_ids is None or row.pool_id in pool_ids]

    def made(self, pool_id: int, name: Name, mname: Name, email: str) -> ZoneRow:
        """The zone's row; as a tombstone if the name was never used in the pool."""
        for row in self.named(name, [pool_id]):
            return row
        row = zones.lock_or_make(self.connection, pool_id, name, mname, email)
        self.hold([row])
        return row

    def alter(self, zone_id: int, **values: Any) -> ZoneRow:
        """Change columns of the zone, which is looked at again in any case; returns it."""
        before = self.zone(zone_id)
        self._zones[zone_id] = row = replace(before, **values)
        self._changed.add(zone_id)
        if row.is_deleted is not before.is_deleted:
            now, no_longer = (self._deleted, self._created)[:: 1 if row.is_deleted else -1]
            now.add(zone_id)
            no_longer.discard(zone_id)
        self._note_living(row)
        return row

    def held_below(self, pool_id: int, apex: Name, names: Collection[Name]) -> set[Name]:
        """Those of the names, all below `apex`, that are zones of their own in the pool."""
        if len(names) > MANY:  # then the zones below are fewer
            self.flush()
            return zones.held_below(self.connection, pool_id, apex).intersection(names)
        self.ask_living({(pool_id, name) for name in names})
        return {name for name in names if (pool_id, name) in self._living}

    def ask_living(self, places: Collection[tuple[int, Name]]) -> None:
        """Find out in one go which of these, each a pool and a name, are zones."""
        unknown = set(places) - self._asked
        self._living |= zones.living_among(self.connection, unknown)
        self._asked |= unknown

    def _note_living(self, row: ZoneRow) -> None:
        place = (row.pool_id, row.name)
        self._asked.add(place)
        if row.is_deleted:
            self._living.discard(place)
        else:
            self._living.add(place)

    # --- RRsets ----------------------------------------------------------------------------------------

    def read(self, places: Collection[Place]) -> None:
        """Read in one go what is at these places."""
        missing = [place for place in dict.fromkeys(places) if place not in self._rrsets]
        by_zone: dict[int, list[Name]] = {}
        for place in missing:
            by_zone.setdefault(place[0], []).append(place[1])
            self._rrsets[place] = {}
        for zone_id, rrset in zones.rrsets_of(self.connection, by_zone):
            self._rrsets[zone_id, rrset.name][rrset.type] = rrset
        for place in missing:
            for type_, value in self._put.get(place, {}).items():
                self._lay(place, type_, value)

    def rrsets_at(self, zone_id: int, names: Collection[Name]) -> dict[Key, RRset]:
        """The desired RRsets of these owners."""
        self.read([(zone_id, name) for name in names])
        return {
            (name, type_): rrset for name in names for type_, rrset in self._rrsets[zone_id, name].items()
        }

    def change(self, zone_id: int, changes: Sequence[RRsetChange]) -> None:
        """Make these the zone's RRsets."""
        for change in changes:
            name, type_ = change.key
            self._put.setdefault((zone_id, name), {})[type_] = change.after
            if (zone_id, name) in self._rrsets:
                self._lay((zone_id, name), type_, change.after)

    def _lay(self, place: Place, type_: str, value: RRset | None) -> None:
        if value is None:
            self._rrsets[place].pop(type_, None)
        else:
            self._rrsets[place][type_] = value

    def names_below(self, zone_id: int, name: Name) -> list[Name]:
        self.flush()
        return zones.names_below(self.connection, zone_id, name)

    def count_rrsets(self, zone_id: int, limit: int) -> int:
        """Of more than `limit`, so many."""
        self.flush()
        return zones.count_rrsets(self.connection, zone_id, limit)

    def rrsets(self, zone_id: int) -> list[RRset]:
        """All of the zone's, in the order of `names.sort_key`."""
        self.flush()
        return zones.rrsets(self.connection, zone_id)

    def empty(self, zone_id: int) -> None:
        """Leave no RRset, and nothing that a target withholds."""
        self.flush()
        zones.remove_all_rrsets(self.connection, zone_id)
        withholding.forget_withheld(self.connection, zone_id)
        self._rrsets = {place: found for place, found in self._rrsets.items() if place[0] != zone_id}

    # --- what follows ----------------------------------------------------------------------------------

    def append(self, row: ZoneRow, operation_id: str, changes: Sequence[RRsetChange]) -> None:
        """Write in the journal what an operation did, under the zone's revision and serial."""
        self._journal += [Appended(row.id, row.revision, row.serial, operation_id, one) for one in changes]

    def want(self, zone_id: int, target_ids: Iterable[int], *, goal: str, revision: int, force: bool) -> None:
        """Set what the targets should have, as a change that somebody waits for."""
        for target_id in target_ids:
            before = self._wanted.get((zone_id, target_id))
            forced = force or (before is not None and before.force)
            self._wanted[zone_id, target_id] = Wanted(zone_id, target_id, goal, revision, forced)

    def finish(self) -> None:
        """Write all of it, and what targets should have last and at once: in parts, its rows would be locked
        in another order than that of their keys."""
        self.flush()
        deliveries.want(self.connection, list(self._wanted.values()))
        self._wanted = {}

    def flush(self) -> None:
        """Write what zones have become so far, so that the database can be asked."""
        self._before_flush()
        connection = self.connection
        put: list[tuple[int, RRset]] = []
        removed: list[tuple[int, Key]] = []
        for (zone_id, name), by_type in self._put.items():
            for type_, value in by_type.items():
                if value is None:
                    removed.append((zone_id, (name, type_)))
                else:
                    put.append((zone_id, value))
        zones.put_rrsets(connection, put)
        zones.remove_rrsets(connection, removed)
        journal.append(connection, self._journal)
        zones.store(
            connection, [self._zones[zone_id] for zone_id in sorted(self._changed)],
            look_s=LOOK_GUARD_S, created=self._created, deleted=self._deleted,
        )  # fmt: skip
        self._put, self._journal = {}, []
        self._changed, self._created, self._deleted = set(), set(), set()


@contextmanager
def drafting(connection: sa.Connection) -> Iterator[Draft]:
    """A draft that is written at the end."""
    draft = Draft(connection)
    yield draft
    draft.finish()


class ZoneAfter:
    """A zone as it would be with some changes, as far as `placement` asks."""

    def __init__(self, draft: Draft, zone: ZoneRow, changes: Sequence[RRsetChange]) -> None:
        self._draft, self._zone = draft, zone
        self.apex = zone.name
        self._types: dict[Name, set[str]] = {}
        needed = placement.names_needed([change.key for change in changes], zone.name)
        for name, type_ in draft.rrsets_at(zone.id, needed):
            self._types.setdefault(name, set()).add(type_)
        for change in changes:
            types = self._types.setdefault(change.key[0], set())
            if change.is_removal:
                types.discard(change.key[1])
            else:
                types.add(change.key[1])
        self._added = [change.key[0] for change in changes if not change.is_removal]

    def types_at(self, name: Name) -> set[str]:
        return self._types.get(name, set())

    def has_descendants(self, name: Name) -> bool:
        if any(added != name and names.is_within(added, name) for added in self._added):
            return True
        below = self._draft.names_below(self._zone.id, name)
        return any(self._types.get(found, {"?"}) for found in below)
