"""A zone's history as whoever asks sees it: each change with its serial, its maker and its RRsets.

Separate from `reports`, which tell how things stand. All answers are JSON terms.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.errors import AmbiguousZone, InvalidRequest, ZoneNotFound
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA
from dnsworker.requests.questions import HistoryQuery
from dnsworker.requests.zones import SETTABLE
from dnsworker.store import history, pools, zones
from dnsworker.store.history import Made
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow

#: RRsets that are told of each of several changes; of a single one that is asked for, all that there can be.
SHOWN, SHOWN_ALONE = 50, 100_000


def show_history(connection: sa.Connection, query: HistoryQuery) -> dict[str, Any]:
    """What was changed, newest first. Raises `ZoneNotFound`, `AmbiguousZone`, `InvalidRequest`.

    `older` is the serial to ask for what comes `before`, None at the end; `begins` says how far back the
    journal goes, and whether that is where the zone began.
    """
    zone, known = find_ever(connection, Name(query.zone), query.pool)
    oldest = history.oldest(connection, zone)
    found: list[Made] = []
    if oldest is not None:
        found = history.changes(
            connection, zone, since=oldest.revision,
            before=_revision(connection, zone, query.before),
            revision=_revision(connection, zone, query.serial),
            owner=query.owner, limit=query.limit + 1,
            shown=SHOWN_ALONE if query.serial is not None else SHOWN,
        )  # fmt: skip
    shown = found[: query.limit]
    return {
        "zone": zone.name,
        "pool": known.pool.name,
        "status": zone.status,
        "serial": zone.serial,
        "changes": [_entry(zone, made) for made in shown],
        "older": shown[-1].moment.serial if len(found) > len(shown) else None,
        "begins": oldest
        and {"serial": oldest.serial, "at": _text(oldest.at), "is_all": oldest.revision == 1},
    }


def find_ever(connection: sa.Connection, name: Name, pool_name: str | None) -> tuple[ZoneRow, KnownPool]:
    """The zone of that name, or the one that there was. Raises `ZoneNotFound`, `AmbiguousZone`."""
    directory = {known.id: known for known in pools.read(connection)}
    every = [
        row
        for row in zones.find(connection, name)
        if row.revision and pool_name in (None, directory[row.pool_id].pool.name)
    ]
    living = [row for row in every if not row.is_deleted and row.arrives_by is None]
    found = living or every
    if not found:
        raise ZoneNotFound(f"there never was a zone {name}" + (f" in pool {pool_name}" if pool_name else ""))
    if len(found) > 1:
        in_pools = ", ".join(sorted(directory[row.pool_id].pool.name for row in found))
        raise AmbiguousZone(f"zone {name} is, or was, in the pools {in_pools}: say which with pool=")
    return found[0], directory[found[0].pool_id]


def rrset_changes(changes: tuple[RRsetChange, ...]) -> list[dict[str, Any]]:
    """RRsets before and after, the SOA left out."""
    return [
        {
            "name": one.key[0], "type": one.key[1],
            "before": one.before and {"ttl": one.before.ttl, "data": list(one.before.data)},
            "after": one.after and {"ttl": one.after.ttl, "data": list(one.after.data)},
        }
        for one in changes
        if one.key[1] != "SOA"
    ]  # fmt: skip


def settings_changes(changes: tuple[RRsetChange, ...]) -> list[dict[str, Any]]:
    """The zone's own values that changed, before (None: the zone came into being) and after."""
    for one in changes:
        if one.key[1] == "SOA" and one.after is not None:
            after = SOA.from_rdata(one.after.data[0], one.after.ttl)
            before = None if one.before is None else SOA.from_rdata(one.before.data[0], one.before.ttl)
            pairs = [
                (name, before and getattr(before, field), getattr(after, field))
                for field, name in _SETTINGS.items()
            ]
            return [{"name": name, "before": was, "after": is_} for name, was, is_ in pairs if was != is_]
    return []


def becomes(zone: Name, changes: tuple[RRsetChange, ...]) -> str | None:
    """Whether the zone was `created` or `deleted`: what exists has NS records at its apex."""
    for one in changes:
        if one.key == (zone, "NS") and None in (one.before, one.after):
            return "deleted" if one.after is None else "created"
    return None


_SETTINGS = {field: field for field in SETTABLE} | {"mname": "primary"}


def _entry(zone: ZoneRow, made: Made) -> dict[str, Any]:
    row = made.operation
    shown = rrset_changes(made.changes)
    return {
        "serial": made.moment.serial,
        "at": _text(made.moment.at),
        "kind": row.kind,
        "operation": row.id,
        #: The AMQP user that the broker vouches for; else the client's own name of itself.
        "who": row.submitter or row.client,
        "comment": row.comment,
        "status": row.status,
        "reason": None if row.code is None else f"{row.code}: {row.message}",
        #: The operation was refused by targets, or cancelled: this is what undid it.
        "is_taken_back": row.status == Status.ERROR.value
        and row.zone_id == zone.id
        and row.revision is not None
        and made.moment.revision > row.revision,
        "becomes": becomes(zone.name, made.changes),
        "created": made.created,
        "updated": made.updated,
        "deleted": made.deleted,
        "settings": settings_changes(made.changes),
        "rrsets": shown,
        "is_cut": len(shown) < made.created + made.updated + made.deleted,
    }


def _revision(connection: sa.Connection, zone: ZoneRow, serial: int | None) -> int | None:
    if serial is None:
        return None
    found = history.with_serial(connection, zone, serial)
    if found is None:
        raise InvalidRequest(
            f"the journal of {zone.name} has no change with serial {serial}; "
            "`dnsworker zone history` lists those that it has"
        )
    return found.revision


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
