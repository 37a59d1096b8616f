"""Many submissions in one transaction: what is in order is applied, and all of it is written at the end.

Locks are taken in one order: zones, positions, operations, zones that are made now, and then deliveries.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dnsworker.desired import Contended, Desired, Draft
from dnsworker.errors import ConfigError, InvalidRequest, Overtaken
from dnsworker.intake.submission import UNREADABLE, Arrival, Submission, reused, row_of
from dnsworker.intake.taken import Decision, Fate, Taken
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.requests.kinds import parse_request
from dnsworker.requests.request import Order, Request
from dnsworker.store import operations, zones
from dnsworker.store.rows import ZoneRow

log = logging.getLogger(__name__)

#: What may make a zone.
CREATIONS = ("create_zone", "import_zone")
#: What an operation has only in some statuses.
UNDECIDED = {"zone_id": None, "revision": None, "serial": None, "code": None, "message": None}


@dataclass(slots=True)
class _Open:
    """An operation whose turn it is, or will be."""

    id: str
    zone: str
    client: str | None
    number: int
    skips: Sequence[int]
    #: None: read from the row when it is needed.
    request: Request | None
    refusal: InvalidRequest | None
    #: The row that is to be written; None: there is one.
    row: dict[str, Any] | None = None
    kind: str = ""
    payload: Any = None
    #: Whether nobody has decided anything about it yet.
    is_first: bool = False
    received_at: datetime | None = None


class _Position:
    """How far the operations of one client on one zone have been taken."""

    def __init__(self, row: Any) -> None:
        self.last: int = row.last_number
        self.voids: set[int] = set(row.voids)
        self.held: list[_Open] = []

    def void(self, numbers: Iterable[int]) -> None:
        self.voids |= {number for number in numbers if number > self.last}

    def next_held(self) -> _Open | None:
        return next((one for one in self.held if one.number == self.last + 1), None)


class Batch:
    """One transaction. Locks are taken in one order: zones, positions, operations, and then deliveries."""

    def __init__(self, connection: sa.Connection, desired: Desired) -> None:
        self.taken = Taken()
        #: The zones that are named, as they were found.
        self.found: list[ZoneRow] = []
        #: Operations that had no row before.
        self.new: set[str] = set()
        self._connection, self._desired = connection, desired
        self._draft = Draft(connection, self._write_operations)
        self._positions: dict[tuple[str, str], _Position] = {}
        self._new: dict[str, dict[str, Any]] = {}
        self._decided: dict[str, dict[str, Any]] = {}

    def take(self, submissions: Sequence[Submission], *, wait: bool) -> None:
        submissions = self._lock_zones(submissions, wait=wait)
        self._lock_positions([(one.order.client, one.zone) for one in submissions if one.order is not None])
        known = operations.known(self._connection, {one.id for one in submissions})
        rows = [row for row in known.values() if row.client is not None]
        self._lock_positions([(row.client, row.zone) for row in rows])
        requests = [one.request for one in submissions if one.request is not None and one.refusal is None]
        self._desired.make_missing(self._draft, [*requests, *self._waiting_creations(known.values())])
        self._desired.prepare(self._draft, requests)
        for one in submissions:
            row = known.get(one.id)
            if row is not None:
                self._take_known(one, row)
            elif one.arrival is not None:
                self._take_new(one, one.arrival)
        self._finish()

    def _waiting_creations(self, rows: Iterable[Any]) -> list[Request]:
        """Of what has a row, and may be applied now: what may make a zone."""
        held = [one for position in self._positions.values() for one in position.held]
        found = []
        for one in [*map(_open_of, rows), *held]:
            if one.kind in CREATIONS and one.refusal is None:
                with suppress(InvalidRequest):  # it says so when it is applied
                    found.append(parse_request(one.kind, one.payload))
        return found

    def close_gap(self, client: str, zone: str) -> None:
        """Go on without what is missing before the lowest number that is held."""
        self._lock_zones([Submission("", zone)], wait=True)
        self._lock_positions([(client, zone)])
        position = self._positions[client, zone]
        self._desired.make_missing(self._draft, self._waiting_creations([]))
        if position.held:
            lowest = min(one.number for one in position.held)
            if lowest > position.last + 1:
                log.warning(
                    "client %s, zone %s: operations %d to %d never came; going on without them",
                    client, zone, position.last + 1, lowest - 1, extra={"zone": zone},
                )  # fmt: skip
            position.last = lowest - 1
            self._run_on(position)
        self._finish()

    def _lock_zones(self, submissions: Sequence[Submission], *, wait: bool) -> list[Submission]:
        """Returns those whose zones could be locked, or don't exist."""
        wanted = {Name(one.zone) for one in submissions if one.zone != UNREADABLE}
        ids = zones.ids_named(self._connection, wanted)
        every = {one for found in ids.values() for one in found}
        lock = zones.lock_all if wait else zones.lock_soon
        self.found = rows = lock(self._connection, every)
        self._draft.hold(rows)
        missed = every - {row.id for row in rows}
        busy = {name for name, found in ids.items() if missed.intersection(found)}
        self.taken.locked = set(busy)
        self.taken.busy = [one.arrival for one in submissions if one.zone in busy and one.arrival is not None]
        return [one for one in submissions if one.zone not in busy]

    def _lock_positions(self, wanted: Iterable[tuple[str, str]]) -> None:
        new = set(wanted) - self._positions.keys()
        if not new:
            return
        rows = operations.lock_orders(self._connection, new)
        self._positions |= {key: _Position(row) for key, row in rows.items()}
        for row in operations.held_beyond(
            self._connection, {key: row.last_number for key, row in rows.items()}
        ):
            self._positions[row.client, row.zone].held.append(_open_of(row))

    # --- one after the other -----------------------------------------------------------------------------

    def _take_new(self, one: Submission, arrival: Arrival) -> None:
        """A message that nobody has seen before."""
        order = one.order
        self._take(
            _Open(
                one.id, one.zone, order.client if order else None, order.number if order else 0,
                order.skips if order else (), one.request, one.refusal, row=row_of(arrival, one),
                kind=arrival.kind, is_first=True,
            )
        )  # fmt: skip

    def _take_known(self, one: Submission, row: Any) -> None:
        """A row, or a repeated message: whoever handled the first may have died before telling anybody."""
        if one.arrival is not None and one.digest() != row.digest:
            self.taken.reused[one.id] = reused(row)
        if one.order is not None:
            self._void_other_number(row, one.order, one.zone)
        if one.id in self.taken.reused or one.id in self.taken.fates:
            return
        if row.status == Status.PENDING.value:
            waiting = _open_of(row)
            waiting.refusal = one.refusal or waiting.refusal
            self._take(waiting)
            return
        self.taken.fates[one.id] = Fate(Status(row.status), row.serial, row.code, row.message)
        if Status(row.status).is_final:
            self.taken.ended.append(one.id)

    def _void_other_number(self, row: Any, order: Order, zone: str) -> None:
        """An id that was submitted again took another number: nothing else will come under it."""
        own = row.number if row.client == order.client and row.zone == zone else None
        if order.number == own:
            return
        position = self._positions[order.client, zone]
        # The operation may itself be held under a number that its submitter has given up.
        position.void({order.number, *order.skips} - {own})
        self._run_on(position)

    def _take(self, one: _Open) -> None:
        if one.client is None:
            self._apply(one)
            return
        position = self._positions[one.client, one.zone]
        position.void(one.skips)
        if one.number <= position.last or one.number in position.voids:
            self._overtaken(one, position)
        elif one.number == position.last + 1:
            self._apply(one)
            position.last = one.number
        else:
            position.held.append(one)
            why = f"waits for operation {position.last + 1} of its client on {one.zone}"
            code, why = (one.refusal.code, one.refusal.message) if one.refusal else (None, why)
            self._decide(one, Status.HELD, code=code, message=why)
        self._run_on(position)

    def _run_on(self, position: _Position) -> None:
        """Apply what is next, for as long as the next one is there."""
        while True:
            if position.last + 1 in position.voids:
                position.voids.discard(position.last + 1)
            elif (one := position.next_held()) is not None:
                position.held.remove(one)
                self._apply(one)
            else:
                break
            position.last += 1
        # A void number may have arrived after all, and two messages may claim one number.
        for one in [one for one in position.held if one.number <= position.last]:
            position.held.remove(one)
            self._overtaken(one, position)

    def _apply(self, one: _Open) -> None:
        """Give the operation its effect or its refusal."""
        try:
            if one.refusal is not None:  # it only takes its place
                raise one.refusal
            request = one.request or parse_request(one.kind, one.payload)
            accepted = self._desired.apply(self._draft, one.id, request)
        except InvalidRequest as exc:
            self._refuse(one, exc)
            return
        except (ConfigError, MemoryError, Contended):
            raise  # this worker's trouble, and not the operation's
        except Exception as exc:  # a defect of ours: the operation must end, and the next go on
            if isinstance(exc, sa.exc.SQLAlchemyError) and not isinstance(exc, sa.exc.DataError):
                raise  # the database's trouble
            raise Broken(one.id, exc) from exc
        self._decide(
            one, Status.ACCEPTED, serial=accepted.serial, zone_id=accepted.zone_id, revision=accepted.revision
        )
        self.taken.targets |= dict.fromkeys(accepted.targets)
        if not accepted.targets:
            self.taken.unchanged.add(accepted.zone_id)

    def _overtaken(self, one: _Open, position: _Position) -> None:
        error = Overtaken(
            f"operation {one.number} of this client on {one.zone} came too late: "
            f"it was skipped or given up, and the order stands at {position.last}"
        )
        self._refuse(one, error)

    def _refuse(self, one: _Open, error: InvalidRequest) -> None:
        self._decide(one, Status.ERROR, code=error.code, message=error.message)
        self.taken.ended.append(one.id)

    # --- what is written ---------------------------------------------------------------------------------

    def _decide(self, one: _Open, status: Status, **more: Any) -> None:
        """Note what becomes of an operation; one that is held may be decided again."""
        became = {"status": status.value, "is_untold": status is Status.ERROR} | UNDECIDED | more
        self.taken.fates[one.id] = Fate(status, became["serial"], became["code"], became["message"])
        self.taken.decisions[one.id] = Decision(
            one.kind, status, became["code"], one.is_first, one.received_at
        )
        if one.row is not None:
            self._new[one.id], one.row = one.row | became, None
        elif one.id in self._new:
            self._new[one.id] |= became
        else:
            self._decided[one.id] = {"id": one.id} | became

    def _write_operations(self) -> None:
        self.new |= self._new.keys()
        rows = list(self._new.values())
        if any("traceparent" in row for row in rows):  # a column that nobody has is left out
            rows = [{"traceparent": None} | row for row in rows]
        operations.insert_all(self._connection, rows)
        operations.decide(self._connection, list(self._decided.values()))
        self._new, self._decided = {}, {}

    def _finish(self) -> None:
        self._draft.finish()
        positions = [
            {
                "client": client, "zone": zone, "last_number": one.last,
                "voids": sorted(number for number in one.voids if number > one.last),
            }
            for (client, zone), one in sorted(self._positions.items())
        ]  # fmt: skip
        operations.set_orders(self._connection, positions)


class InternalError(InvalidRequest):
    """dnsworker has a defect that this operation meets; the worker's log has the details."""


class Broken(Exception):
    """An operation could not be applied for a reason that nobody foresaw."""

    def __init__(self, operation_id: str, cause: Exception) -> None:
        super().__init__(operation_id)
        self.operation_id = operation_id
        self.error = InternalError(
            f"a defect of dnsworker ({type(cause).__name__}): nothing was done; the worker's log tells more"
        )


class _Refused(InvalidRequest):
    """A refusal read back from its row."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = code

    @property
    def code(self) -> str:
        return self._code


def _open_of(row: Any) -> _Open:
    refusal = _Refused(row.code, row.message) if row.code is not None else None
    return _Open(
        row.id, row.zone, row.client, row.number or 0, row.skips or (), None, refusal,
        kind=row.kind, payload=row.payload, is_first=row.status == Status.PENDING.value,
        received_at=row.received_at,
    )  # fmt: skip
