"""What brings back an earlier state of a zone: found in the journal, written as a change like any other.

The contents under a revision are what the zone is now, with each RRset that was changed since put back to
what it was before the first of these changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker import serials
from dnsworker.desired.draft import Draft
from dnsworker.errors import InvalidRequest
from dnsworker.plan import RRsetChange
from dnsworker.requests.zones import SETTABLE, RestoreZone
from dnsworker.store import history
from dnsworker.store.history import Moment
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import now


@dataclass(frozen=True, slots=True)
class Restoration:
    """What leads back: changes of RRsets, and columns of the zone."""

    changes: Sequence[RRsetChange]
    values: dict[str, Any]


def read_restoration(draft: Draft, zone: ZoneRow, request: RestoreZone) -> Restoration:
    """Raises `InvalidRequest` where the journal doesn't tell what the zone was, or it wasn't there."""
    draft.flush()
    connection = draft.connection
    if request.serial is not None:
        revision = _revision_of(connection, zone, request.serial)
    else:
        assert request.moment is not None
        revision = _revision_at(connection, zone, request.moment)
    if not history.existed_at(connection, zone, revision):
        when = request.to or f"serial {request.serial}"
        raise InvalidRequest(f"at {when} zone {zone.name} was deleted: there is nothing to bring back")
    wanted = history.changed_since(connection, zone, revision)
    current = draft.rrsets_at(zone.id, {name for name, _ in wanted})
    changes = [
        RRsetChange(current.get(key), value) for key, value in wanted.items() if current.get(key) != value
    ]
    return Restoration(changes, _values(zone, connection, revision))


def _values(zone: ZoneRow, connection: sa.Connection, revision: int) -> dict[str, Any]:
    """The zone's own values then, as far as they are others now; of one that is made again, all."""
    soa = history.soa_at(connection, zone, revision)
    then = {field: getattr(soa, field) for field in (*SETTABLE, "mname")}
    return {field: value for field, value in then.items() if zone.is_deleted or value != getattr(zone, field)}


def _revision_of(connection: sa.Connection, zone: ZoneRow, serial: int) -> int:
    if serial == zone.serial:  # perhaps lifted, by what a server showed: no change has that serial
        return zone.revision
    if serials.is_ahead(serial, zone.serial):
        raise InvalidRequest(f"zone {zone.name} has not come to serial {serial} yet: it is at {zone.serial}")
    if (found := history.with_serial(connection, zone, serial)) is not None:
        return found.revision
    earlier = history.before_serial(connection, zone, serial)
    if earlier is None:
        raise _too_early(connection, zone, f"serial {serial}")
    raise InvalidRequest(
        f"no change gave zone {zone.name} the serial {serial}; the last one before it gave it "
        f"{earlier.serial}, at {_text(earlier.at)}: see `dnsworker zone history`"
    )


def _revision_at(connection: sa.Connection, zone: ZoneRow, at: datetime) -> int:
    if at > connection.execute(sa.select(now())).scalar_one():
        raise InvalidRequest(f"{_text(at)} is still to come")
    found = history.before_time(connection, zone, at)
    if found is None:
        raise _too_early(connection, zone, _text(at))
    return found.revision


def _too_early(connection: sa.Connection, zone: ZoneRow, wanted: str) -> InvalidRequest:
    oldest = history.oldest(connection, zone)
    if oldest is None:
        return InvalidRequest(f"zone {zone.name} has no history yet")
    if _is_first(oldest):
        return InvalidRequest(
            f"there was no zone {zone.name} here at {wanted}: it begins with serial {oldest.serial}, "
            f"at {_text(oldest.at)}"
        )
    return InvalidRequest(
        f"the journal of {zone.name} doesn't reach back to {wanted}: it begins with serial {oldest.serial}, "
        f"at {_text(oldest.at)}"
    )


def _is_first(moment: Moment) -> bool:
    return moment.revision == 1


def _text(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
