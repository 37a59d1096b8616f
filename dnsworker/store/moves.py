"""Moves of zones between pools: which zone goes where, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from dnsworker.store.rows import ZoneRow
from dnsworker.tables import move, pool, zone

Phase = Literal["delivering", "removing", "done", "given up"]


@dataclass(frozen=True, slots=True)
class Move:
    """A row of `move`, with the names of both pools."""

    operation_id: str
    source_id: int
    destination_id: int
    phase: Phase
    copies: int
    copied_revision: int
    left_serial: int | None
    #: Where it comes from, and where it goes.
    source: str
    destination: str

    @property
    def words(self) -> str:
        """What is being done, for people."""
        said = {
            "delivering": f"being delivered to pool {self.destination}; still served by {self.source}",
            "removing": f"verified in pool {self.destination}; being removed from {self.source}",
            "done": f"moved from pool {self.source} to {self.destination}",
            "given up": f"not moved to pool {self.destination}; stays in {self.source}",
        }[self.phase]
        again = f" (brought up to date {self.copies - 1} times)" if self.copies > 1 else ""
        return said + (again if self.phase == "delivering" else "")


def begin(connection: sa.Connection, **values: Any) -> None:
    connection.execute(sa.insert(move).values(phase="delivering", copies=1, **values))


def update(connection: sa.Connection, operation_id: str, **values: Any) -> None:
    connection.execute(sa.update(move).where(move.c.operation_id == operation_id).values(**values))


def get(connection: sa.Connection, operation_id: str) -> Move:
    from_zone, to_zone, from_pool, to_pool = zone.alias(), zone.alias(), pool.alias(), pool.alias()
    query = (
        sa.select(*move.c, from_pool.c.name.label("source"), to_pool.c.name.label("destination"))
        .join(from_zone, from_zone.c.id == move.c.source_id)
        .join(to_zone, to_zone.c.id == move.c.destination_id)
        .join(from_pool, from_pool.c.id == from_zone.c.pool_id)
        .join(to_pool, to_pool.c.id == to_zone.c.pool_id)
        .where(move.c.operation_id == operation_id)
    )
    return Move(**connection.execute(query).one()._mapping)


def both_sides(connection: sa.Connection, operation_id: str) -> set[int]:
    """The keys of the zone where it is and where it goes."""
    found = get(connection, operation_id)
    return {found.source_id, found.destination_id}


def of_zone(connection: sa.Connection, row: ZoneRow) -> Move | None:
    """The move that the zone is in."""
    operation_id = row.leaves_by or row.arrives_by
    return None if operation_id is None else get(connection, operation_id)
