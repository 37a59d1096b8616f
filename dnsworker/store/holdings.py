"""What the zones of a pool hold, as far as somebody who checks the pool asks: counts, and examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from dnsworker.names import Name
from dnsworker.tables import pool, recordset, zone

#: Zones whose nameservers are to be asked about.
SAMPLE = 5
#: Names that are told of what two pools share.
SHARED_TOLD = 3


@dataclass(frozen=True, slots=True)
class Holdings:
    """The living zones of one pool."""

    zones: int = 0
    #: Zones that were out at all their nameservers, those first that haven't changed for longest.
    sample: tuple[Name, ...] = ()
    #: Type → in how many zones, and one owner.
    types: Mapping[str, tuple[int, Name]] = field(default_factory=dict)
    #: The zone with the most RRsets, and how many.
    largest: tuple[Name, int] | None = None


def of_pool(connection: sa.Connection, pool_name: str) -> Holdings:
    """Reads every row of the pool's RRsets once, in the database."""
    living = sa.and_(zone.c.is_deleted.is_(False), pool.c.name == pool_name)
    of_zones = zone.join(pool, pool.c.id == zone.c.pool_id)
    of_rrsets = of_zones.join(recordset, recordset.c.zone_id == zone.c.id)
    count = connection.execute(sa.select(sa.func.count()).select_from(of_zones).where(living)).scalar_one()
    sample = sa.select(zone.c.name).select_from(of_zones).where(living, zone.c.status == "ACTIVE")
    types = (
        sa.select(
            recordset.c.type, sa.func.count(recordset.c.zone_id.distinct()), sa.func.min(recordset.c.name)
        )
        .select_from(of_rrsets)
        .where(living)
        .group_by(recordset.c.type)
    )
    rrsets = sa.func.count()
    largest = sa.select(zone.c.name, rrsets).select_from(of_rrsets).where(living).group_by(zone.c.name)
    biggest = connection.execute(largest.order_by(rrsets.desc(), zone.c.name).limit(1)).one_or_none()
    return Holdings(
        zones=count,
        sample=tuple(
            Name(name)
            for name in connection.execute(
                sample.order_by(zone.c.updated_at, zone.c.id).limit(SAMPLE)
            ).scalars()
        ),
        types={type_: (zones, Name(owner)) for type_, zones, owner in connection.execute(types)},
        largest=None if biggest is None else (Name(biggest[0]), biggest[1]),
    )


def in_both(connection: sa.Connection, one: str, other: str) -> list[Name]:
    """Names of living zones that both pools hold, one more than are told at most."""
    first, second = zone.alias(), zone.alias()
    pools = {name: sa.select(pool.c.id).where(pool.c.name == name).scalar_subquery() for name in (one, other)}
    query = (
        sa.select(first.c.name)
        .join(second, second.c.name == first.c.name)
        .where(
            first.c.pool_id == pools[one], first.c.is_deleted.is_(False),
            second.c.pool_id == pools[other], second.c.is_deleted.is_(False),
        )
        .order_by(first.c.name)
        .limit(SHARED_TOLD + 1)
    )  # fmt: skip
    return [Name(name) for name in connection.execute(query).scalars()]
