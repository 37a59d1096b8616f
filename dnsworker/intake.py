"""Where submissions become rows: each operation once, in its client's order, many in one short transaction.

number = last + 1 ──► applied (or refused, which takes its place too), then whatever waited for it
number > last + 1 ──► HELD until the gap is filled, skipped by the client, or older than the grace
number ≤ last     ──► Overtaken

What comes together is taken in together, by statements for all of it. Each operation keeps its place and has
an outcome of its own; when the transaction fails, each is taken in by itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

import sqlalchemy as sa
from pydantic import ValidationError

from dnsworker import names
from dnsworker.database import AWAY, reading
from dnsworker.desired import Desired, Draft
from dnsworker.errors import ConfigError, InvalidRequest, OperationIdReused, Overtaken
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.requests import Order, Request, parse_request
from dnsworker.settings import Settings
from dnsworker.store import operations, zones
from dnsworker.store.pools import PoolDirectory

log = logging.getLogger(__name__)

BATCH = 200
#: The zone of a message that names none.
UNREADABLE = "?"
#: What an operation has only in some statuses.
UNDECIDED = {"zone_id": None, "revision": None, "serial": None, "code": None, "message": None}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One submission, as a message brought it."""

    operation_id: str
    kind: str
    arguments: Mapping[str, Any]
    #: Whom the broker vouches for.
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What an intake made of an operation."""

    status: Status
    serial: int | None = None
    code: str | None = None
    message: str | None = None


@dataclass(slots=True)
class Taken:
    """What an intake did, for whoever has to spread the word."""

    #: By operation.
    fates: dict[str, Fate] = field(default_factory=dict)
    #: Operations that have ended, or may have: their outcome is to be told.
    ended: list[str] = field(default_factory=list)
    #: Targets that have something to do.
    targets: dict[str, None] = field(default_factory=dict)
    #: Zones on which an operation changed nothing: it ends as soon as they are verified.
    unchanged: set[int] = field(default_factory=set)
    #: Messages that were another operation under a known id: refused, and there is no row to say so.
    reused: dict[str, OperationIdReused] = field(default_factory=dict)
    #: What wasn't taken in, because somebody else is at work on its zone; and those zones.
    busy: list[Arrival] = field(default_factory=list)
    locked: set[str] = field(default_factory=set)
    #: What can't be taken in, nor be given an end, for a reason that nobody foresaw.
    failed: dict[str, Exception] = field(default_factory=dict)

    def add(self, other: Taken) -> None:
        self.fates |= other.fates
        self.ended += other.ended
        self.targets |= other.targets
        self.unchanged |= other.unchanged
        self.reused |= other.reused
        self.busy += other.busy
        self.locked |= other.locked
        self.failed |= other.failed


def submit(connection: sa.Connection, operation_id: str, request: Request, user: str | None = None) -> None:
    """Write an operation down as PENDING, for a worker to take in. Part of the caller's transaction.

    Raises `OperationIdReused` when the id is known with another payload; the same one changes nothing.
    """
    arrival = Arrival(operation_id, request.kind, {}, user)
    row = _row(arrival, _Submission(operation_id, request.zone, arrival, request, None, request.order))
    if operations.insert(connection, {**row, "status": Status.PENDING.value, "is_untold": False}):
        return
    known = operations.get(connection, operation_id)
    if known is not None and known.digest != row["digest"]:
        raise _reused(known)


class Intake:
    def __init__(self, engine: sa.Engine, directory: PoolDirectory, settings: Settings) -> None:
        self._engine, self._reading = engine, reading(engine)
        self._settings = settings
        self._desired = Desired(directory, settings)

    def receive(self, arrivals: Sequence[Arrival], *, wait: bool = True) -> Taken:
        """Take in messages, in the order in which they came. Refusals are the operations' outcomes, save
        `Taken.reused`. Without `wait`, what concerns a zone that somebody has locked is left (`Taken.busy`).

        Raises one of `AWAY`, and then some may have been taken in; it changes nothing to take them in again.
        """
        taken = Taken()
        while arrivals:  # an id that comes twice is known when it comes again
            first: dict[str, Arrival] = {}
            for one in arrivals:
                first.setdefault(one.operation_id, one)
            taken.add(self._carefully([_Submission.of(one) for one in first.values()], wait=wait))
            arrivals = [one for one in arrivals if first[one.operation_id] is not one]
        return taken

    def take_in(self) -> Taken:
        """Take in what was submitted straight into the database, oldest first. What concerns a zone that
        somebody has locked is left for the next time."""
        taken = Taken()
        while True:
            with self._reading.connect() as connection:
                waiting = operations.pending(connection, BATCH, besides=taken.locked)
            more = self._carefully([_Submission(row.id, row.zone) for row in waiting], wait=False)
            taken.add(more)
            if len(waiting) < BATCH or not (more.fates or more.locked):
                return taken

    def close_gaps(self) -> Taken:
        """Give up waiting for operations that are missing for longer than the grace: they become void."""
        taken = Taken()
        with self._reading.connect() as connection:
            overdue = operations.overdue_holds(connection, self._settings.ordering_grace_s, BATCH)
        for client, zone in overdue:
            try:
                with self._engine.begin() as connection:
                    batch = _Batch(connection, self._desired)
                    batch.close_gap(client, zone)
                taken.add(batch.taken)
            except AWAY:
                raise
            except (sa.exc.DBAPIError, _Broken) as exc:  # others must not be kept waiting
                log.exception("a gap can't be closed; it is tried again with the next sweep")
                self._foredoom(exc)
        return taken

    def _carefully(self, submissions: Sequence[_Submission], *, wait: bool) -> Taken:
        """All in one transaction; where that fails, each in one of its own, so that each has its own end."""
        if not submissions:
            return Taken()
        try:
            return self._together(submissions, wait=wait)
        except AWAY:
            raise
        except Exception as exc:  # noqa: BLE001 - whatever it is, one operation's trouble is not another's
            if len(submissions) == 1:
                return self._alone(submissions[0], exc)
            log.info("%d operations can't be taken in together: %s", len(submissions), _words(exc))
        taken = Taken()
        for one in submissions:
            taken.add(self._carefully([one], wait=True))
        return taken

    def _alone(self, submission: _Submission, error: Exception) -> Taken:
        """What couldn't be taken in, for its own sake or for that of something that waited for it.

        One that no code of ours can handle ends in its place in the order, and says so: else it, and all that
        came after it, would be tried for ever. What remains is in `Taken.failed`.
        """
        for _ in range(BATCH):
            if isinstance(error, _Broken):
                log.error("operation %s can't be taken in", error.operation_id, exc_info=error.__cause__)
                if error.operation_id == submission.id:
                    submission.refusal = error.error
                else:
                    self._foredoom(error)
            elif isinstance(error, sa.exc.DataError) and submission.refusal is None:
                # Nothing that passed validation should get here; if it does, it must not come back for ever.
                log.error("the database can't hold operation %s", submission.id, exc_info=error)
                reason = f"the database can't hold this operation: {type(error.orig).__name__}"
                submission.request, submission.refusal = None, InvalidRequest(reason)
            elif not isinstance(error, sa.exc.IntegrityError):  # else somebody took it in at the same time
                break
            try:
                return self._together([submission], wait=True)
            except AWAY:
                raise
            except Exception as exc:  # noqa: BLE001 - judged above, or kept
                error = exc
        log.error("operation %s can't be taken in", submission.id, exc_info=error)
        return Taken(failed={submission.id: error})

    def _foredoom(self, error: Exception) -> None:
        if isinstance(error, _Broken):
            with self._engine.begin() as connection:
                operations.foredoom(connection, error.operation_id, error.error)

    def _together(self, submissions: Sequence[_Submission], *, wait: bool) -> Taken:
        with self._engine.begin() as connection:
            batch = _Batch(connection, self._desired)
            batch.take(submissions, wait=wait)
        return batch.taken


@dataclass(slots=True)
class _Submission:
    """A message on its way in, or (without an arrival) the row of one."""

    id: str
    zone: str
    arrival: Arrival | None = None
    request: Request | None = None
    refusal: InvalidRequest | None = None
    order: Order | None = None

    @classmethod
    def of(cls, arrival: Arrival) -> Self:
        try:
            request = parse_request(arrival.kind, arrival.arguments)
        except InvalidRequest as exc:
            # One that is refused takes its place in the order too, as far as that can be read.
            zone, order = _readable_zone(arrival.arguments), _readable_order(arrival.arguments)
            return cls(arrival.operation_id, zone, arrival, None, exc, order)
        return cls(arrival.operation_id, request.zone, arrival, request, None, request.order)

    def payload(self) -> dict[str, Any]:
        """What is kept of it: all that it means, or nothing of what can't be read."""
        return self.request.payload() if self.request is not None else {}

    def digest(self, payload: Mapping[str, Any] | None = None) -> str:
        assert self.arrival is not None, "a row has one"
        if self.request is not None:
            return self.request.digest(payload)
        return _digest(self.arrival.kind, self.arrival.arguments)


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


class _Batch:
    """One transaction. Locks are taken in one order: zones, positions, operations, and then deliveries."""

    def __init__(self, connection: sa.Connection, desired: Desired) -> None:
        self.taken = Taken()
        self._connection, self._desired = connection, desired
        self._draft = Draft(connection, self._write_operations)
        self._positions: dict[tuple[str, str], _Position] = {}
        self._new: dict[str, dict[str, Any]] = {}
        self._decided: dict[str, dict[str, Any]] = {}

    def take(self, submissions: Sequence[_Submission], *, wait: bool) -> None:
        submissions = self._lock_zones(submissions, wait=wait)
        requests = [one.request for one in submissions if one.request is not None and one.refusal is None]
        self._desired.prepare(self._draft, requests)
        orders = [(one.order.client, one.zone) for one in submissions if one.order is not None]
        self._lock_positions(orders)
        known = operations.known(self._connection, {one.id for one in submissions})
        rows = [row for row in known.values() if row.client is not None]
        self._lock_positions([(row.client, row.zone) for row in rows])
        for one in submissions:
            row = known.get(one.id)
            if row is not None:
                self._take_known(one, row)
            elif one.arrival is not None:
                self._take_new(one, one.arrival)
        self._finish()

    def close_gap(self, client: str, zone: str) -> None:
        """Go on without what is missing before the lowest number that is held."""
        self._lock_zones([_Submission("", zone)], wait=True)
        self._lock_positions([(client, zone)])
        position = self._positions[client, zone]
        if position.held:
            lowest = min(one.number for one in position.held)
            if lowest > position.last + 1:
                log.warning(
                    "client %s, zone %s: operations %d to %d never came; going on without them",
                    client, zone, position.last + 1, lowest - 1,
                )  # fmt: skip
            position.last = lowest - 1
            self._run_on(position)
        self._finish()

    def _lock_zones(self, submissions: Sequence[_Submission], *, wait: bool) -> list[_Submission]:
        """Returns those whose zones could be locked, or don't exist."""
        wanted = {Name(one.zone) for one in submissions if one.zone != UNREADABLE}
        ids = zones.ids_named(self._connection, wanted)
        every = {one for found in ids.values() for one in found}
        rows = zones.lock_all(self._connection, every, wait=wait)
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
            self._positions[row.client, row.zone].held.append(_of_row(row))

    # --- one after the other -----------------------------------------------------------------------------

    def _take_new(self, one: _Submission, arrival: Arrival) -> None:
        """A message that nobody has seen before."""
        order = one.order
        self._take(
            _Open(
                one.id, one.zone, order.client if order else None, order.number if order else 0,
                order.skips if order else (), one.request, one.refusal, row=_row(arrival, one),
            )
        )  # fmt: skip

    def _take_known(self, one: _Submission, row: Any) -> None:
        """A row, or a repeated message: whoever handled the first may have died before telling anybody."""
        if one.arrival is not None and one.digest() != row.digest:
            self.taken.reused[one.id] = _reused(row)
        if one.order is not None:
            self._void_other_number(row, one.order, one.zone)
        if one.id in self.taken.reused or one.id in self.taken.fates:
            return
        if row.status == Status.PENDING.value:
            waiting = _of_row(row)
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
        except (ConfigError, MemoryError):
            raise  # this worker's trouble, and not the operation's
        except Exception as exc:  # a defect of ours: the operation must end, and the next go on
            if isinstance(exc, sa.exc.SQLAlchemyError) and not isinstance(exc, sa.exc.DataError):
                raise  # the database's trouble
            raise _Broken(one.id, exc) from exc
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
        if one.row is not None:
            self._new[one.id], one.row = one.row | became, None
        elif one.id in self._new:
            self._new[one.id] |= became
        else:
            self._decided[one.id] = {"id": one.id} | became

    def _write_operations(self) -> None:
        operations.insert_all(self._connection, list(self._new.values()))
        operations.decide(self._connection, list(self._decided.values()))
        self._new, self._decided = {}, {}

    def _finish(self) -> None:
        self._draft.flush()
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


class _Broken(Exception):
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


def _of_row(row: Any) -> _Open:
    refusal = _Refused(row.code, row.message) if row.code is not None else None
    return _Open(
        row.id, row.zone, row.client, row.number or 0, row.skips or (), None, refusal,
        kind=row.kind, payload=row.payload,
    )  # fmt: skip


def _row(arrival: Arrival, one: _Submission) -> dict[str, Any]:
    """The operation's row, but for what becomes of it."""
    payload = one.payload()
    return {
        "id": arrival.operation_id,
        "kind": arrival.kind,
        "zone": one.zone,
        "pool": one.request.pool if one.request is not None else None,
        "payload": payload,
        "digest": one.digest(payload),
        "client": one.order.client if one.order else None,
        "number": one.order.number if one.order else None,
        "skips": one.order.skips if one.order else None,
        "submitter": arrival.user,
        "comment": one.request.comment if one.request is not None else None,
    }


def _reused(known: Any) -> OperationIdReused:
    return OperationIdReused(
        f"operation id {known.id} was used before, for {known.kind} {known.zone}; "
        "every operation needs its own"
    )


def _readable_order(arguments: Mapping[str, Any]) -> Order | None:
    try:
        return Order.model_validate(arguments.get("order"))
    except ValidationError:
        return None  # not to be read: then it has no place in the order to take


def _readable_zone(arguments: Mapping[str, Any]) -> str:
    try:
        return names.zone_name(arguments["zone"])
    except (InvalidRequest, KeyError, TypeError, AttributeError):
        return UNREADABLE


def _digest(kind: str, arguments: Mapping[str, Any]) -> str:
    readable = {key: value for key, value in arguments.items() if key != "order"}
    return sha256(json.dumps([kind, readable], sort_keys=True, default=str).encode()).hexdigest()


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
