"""Where a submission becomes rows: each operation once, in its client's order, in one short transaction.

number = last + 1 ──► applied (or refused, which takes its place too), then whatever waited for it
number > last + 1 ──► HELD until the gap is filled, skipped by the client, or older than the grace
number ≤ last     ──► Overtaken
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from dnsworker import names
from dnsworker.database import AWAY, reading
from dnsworker.desired import Desired
from dnsworker.errors import ConfigError, InvalidRequest, OperationIdReused, Overtaken
from dnsworker.operations import Status
from dnsworker.requests import Order, Request, parse_request
from dnsworker.settings import Settings
from dnsworker.store import operations
from dnsworker.store.pools import PoolDirectory

log = logging.getLogger(__name__)

BATCH = 200


@dataclass(slots=True)
class Taken:
    """What an intake did, for whoever has to spread the word."""

    #: Operations that have ended, or may have: their outcome is to be told.
    ended: list[str] = field(default_factory=list)
    #: Targets that have something to do.
    targets: dict[str, None] = field(default_factory=dict)
    #: Zones on which an operation changed nothing: it ends as soon as they are verified.
    unchanged: set[int] = field(default_factory=set)
    #: The message was another operation under a known id: refused, and it has no row to say so.
    reused: OperationIdReused | None = None


def submit(connection: sa.Connection, operation_id: str, request: Request, user: str | None = None) -> None:
    """Write an operation down as PENDING, for a worker to take in. Part of the caller's transaction.

    Raises `OperationIdReused` when the id is known with another payload; the same one changes nothing.
    """
    _insert(connection, _row(operation_id, request.kind, request, {}, user))


class Intake:
    def __init__(self, engine: sa.Engine, directory: PoolDirectory, settings: Settings) -> None:
        self._engine, self._reading = engine, reading(engine)
        self._settings = settings
        self._desired = Desired(directory, settings)

    def receive(self, operation_id: str, kind: str, arguments: Mapping[str, Any], user: str | None) -> Taken:
        """Take in one message. Refusals are the operation's outcome, save `Taken.reused`."""
        taken = Taken()
        request: Request | None = None
        refusal: InvalidRequest | None = None
        try:
            request = parse_request(kind, arguments)
        except InvalidRequest as exc:
            refusal = exc
        row = _row(operation_id, kind, request, arguments, user, refusal)

        def take(connection: sa.Connection) -> None:
            _insert(connection, row)
            self._take(connection, operation_id, request, taken)

        def foredoom(error: InternalError) -> None:
            row.update(code=error.code, message=error.message)

        try:
            self._carefully(take, {operation_id: foredoom})
        except OperationIdReused as exc:
            taken.reused = exc
            if request is not None and request.order is not None:
                with self._engine.begin() as connection:
                    known = operations.lock(connection, operation_id)
                    self._take_other_number(connection, known, request.zone, request.order, taken)
        except sa.exc.DataError as exc:
            # Nothing that passed validation should get here; if it does, it must not come back for ever.
            log.exception("the database can't hold operation %s", operation_id)
            reason = InvalidRequest(f"the database can't hold this operation: {type(exc.orig).__name__}")
            with self._engine.begin() as connection:
                _insert(connection, _row(operation_id, kind, None, arguments, user, reason))
                self._take(connection, operation_id, None, taken)
        return taken

    def take_in(self) -> Taken:
        """Take in what was submitted straight into the database, oldest first, each in its transaction."""
        taken = Taken()
        while True:
            with self._reading.connect() as connection:
                waiting = operations.pending(connection, BATCH)
            left = 0
            for operation_id in waiting:

                def take(connection: sa.Connection, one: str = operation_id) -> None:
                    self._take(connection, one, None, taken)

                left += not self._without_stopping(take)
            if len(waiting) < BATCH or left == len(waiting):
                return taken

    def close_gaps(self) -> Taken:
        """Give up waiting for operations that are missing for longer than the grace: they become void."""
        taken = Taken()
        with self._reading.connect() as connection:
            overdue = operations.overdue_holds(connection, self._settings.ordering_grace_s, BATCH)
        for position in overdue:

            def close(connection: sa.Connection, where: tuple[str, str] = position) -> None:
                self._close_gap(connection, *where, taken)

            self._without_stopping(close)
        return taken

    def _close_gap(self, connection: sa.Connection, client: str, zone: str, taken: Taken) -> None:
        order = operations.lock_order(connection, client, zone)
        lowest = operations.lowest_held(connection, client, zone)
        if lowest is None:
            return
        if lowest > order.last_number + 1:
            log.warning(
                "client %s, zone %s: operations %d to %d never came; going on without them",
                client, zone, order.last_number + 1, lowest - 1,
            )  # fmt: skip
        self._run_on(connection, client, zone, max(lowest - 1, order.last_number), set(order.voids), taken)

    def _without_stopping(self, take: Callable[[sa.Connection], None]) -> bool:
        """`take`, whose failure must not keep others waiting; whether it went well. Raises `AWAY`."""
        try:
            self._carefully(take)
        except AWAY:
            raise
        except sa.exc.DBAPIError:
            log.exception("an intake failed; it is tried again with the next sweep")
            return False
        return True

    def _carefully(
        self,
        take: Callable[[sa.Connection], None],
        foredoom: Mapping[str, Callable[[InternalError], None]] | None = None,
    ) -> None:
        """`take` in one transaction, and again without the effect of an operation that breaks it.

        One that no code of ours can handle ends in its place in the order, and says so: else it, and all
        that came after it, would be tried for ever.
        """
        for _ in range(BATCH):
            try:
                with self._engine.begin() as connection:
                    take(connection)
            except _Broken as broken:
                log.exception("operation %s can't be taken in", broken.operation_id)
                if foredoom and broken.operation_id in foredoom:
                    foredoom[broken.operation_id](broken.error)
                    continue
                with self._engine.begin() as connection:
                    operations.foredoom(connection, broken.operation_id, broken.error)
            else:
                return
        raise RuntimeError(f"more than {BATCH} operations in a row can't be taken in")

    def _take(
        self, connection: sa.Connection, operation_id: str, request: Request | None, taken: Taken
    ) -> None:
        row = operations.lock(connection, operation_id)
        if row is None:
            return
        if request is not None and request.order is not None:
            self._take_other_number(connection, row, row.zone, request.order, taken)
        if row.status != Status.PENDING.value:
            # A repeated message. Whoever handled the first may have died before telling anybody.
            if Status(row.status).is_final:
                taken.ended.append(operation_id)
            return
        if row.client is None:
            self._apply(connection, row, request, taken)
            return
        order = operations.lock_order(connection, row.client, row.zone)
        last, voids = order.last_number, set(order.voids)
        voids |= {number for number in row.skips or () if number > last}
        if row.number <= last or row.number in voids:
            _overtaken(connection, row, last, taken)
        elif row.number == last + 1:
            self._apply(connection, row, request, taken)
            last = row.number
        else:
            operations.hold(connection, row.id, f"waits for operation {last + 1} of its client on {row.zone}")
        self._run_on(connection, row.client, row.zone, last, voids, taken)

    def _take_other_number(
        self, connection: sa.Connection, row: Any, zone: str, order: Order, taken: Taken
    ) -> None:
        """An id that was submitted again took another number: nothing else will come under it."""
        own = row.number if row.client == order.client and row.zone == zone else None
        if order.number == own:
            return
        position = operations.lock_order(connection, order.client, zone)
        # The operation may itself be held under a number that its submitter has given up.
        numbers = {order.number, *order.skips} - {own}
        if voids := {number for number in numbers if number > position.last_number}:
            voids |= set(position.voids)
            self._run_on(connection, order.client, zone, position.last_number, voids, taken)

    def _run_on(
        self,
        connection: sa.Connection,
        client: str,
        zone: str,
        last: int,
        voids: set[int],
        taken: Taken,
    ) -> None:
        """Apply what is next, for as long as the next one is there."""
        start = last
        while True:
            if last + 1 in voids:
                voids.discard(last + 1)
            elif (row := operations.held_with_number(connection, client, zone, last + 1)) is not None:
                self._apply(connection, row, None, taken)
            else:
                break
            last += 1
        if last > start:
            # A void number may have arrived after all, and two messages may claim one number.
            for row in operations.held_up_to(connection, client, zone, last):
                _overtaken(connection, row, last, taken)
        left = sorted(number for number in voids if number > last)
        operations.set_order(connection, client, zone, last, left)

    def _apply(self, connection: sa.Connection, row: Any, request: Request | None, taken: Taken) -> None:
        """Give the operation its effect or its refusal."""
        try:
            if row.code is not None:  # refused before it was written down; it only takes its place
                raise _Refused(row.code, row.message)
            request = request or parse_request(row.kind, row.payload)
            accepted = self._desired.apply(connection, row.id, request)
        except InvalidRequest as exc:
            operations.refuse(connection, row.id, exc)
            taken.ended.append(row.id)
            return
        except (ConfigError, MemoryError):
            raise  # this worker's trouble, and not the operation's
        except Exception as exc:  # a defect of ours: the operation must end, and the next go on
            if isinstance(exc, sa.exc.SQLAlchemyError) and not isinstance(exc, sa.exc.DataError):
                raise  # the database's trouble
            raise _Broken(row.id, exc) from exc
        operations.accept(
            connection, row.id, zone_id=accepted.zone_id, revision=accepted.revision, serial=accepted.serial
        )
        taken.targets.update(dict.fromkeys(accepted.targets))
        if not accepted.targets:
            taken.unchanged.add(accepted.zone_id)


def _overtaken(connection: sa.Connection, row: Any, last: int, taken: Taken) -> None:
    error = Overtaken(
        f"operation {row.number} of this client on {row.zone} came too late: "
        f"it was skipped or given up, and the order stands at {last}"
    )
    operations.refuse(connection, row.id, error)
    taken.ended.append(row.id)


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


def _insert(connection: sa.Connection, row: dict[str, Any]) -> None:
    if operations.insert(connection, row):
        return
    known = operations.get(connection, row["id"])
    if known is not None and known.digest != row["digest"]:
        raise OperationIdReused(
            f"operation id {row['id']} was used before, for {known.kind} {known.zone}; "
            "every operation needs its own"
        )


def _row(
    operation_id: str,
    kind: str,
    request: Request | None,
    arguments: Mapping[str, Any],
    user: str | None,
    refusal: InvalidRequest | None = None,
) -> dict[str, Any]:
    """The operation's row. A message that is refused is kept as far as it can be read."""
    order = request.order if request is not None else _readable_order(arguments)
    zone = request.zone if request is not None else _readable_zone(arguments)
    return {
        "id": operation_id,
        "kind": kind,
        "zone": zone,
        "pool": request.pool if request is not None else None,
        "payload": request.payload() if request is not None else {},
        "digest": request.digest() if request is not None else _digest(kind, arguments),
        "client": order.client if order else None,
        "number": order.number if order else None,
        "skips": order.skips if order else None,
        "submitter": user,
        "comment": request.comment if request is not None else None,
        "status": Status.PENDING.value,
        "code": refusal.code if refusal else None,
        "message": refusal.message if refusal else None,
        "is_untold": False,
    }


def _readable_order(arguments: Mapping[str, Any]) -> Order | None:
    try:
        return Order.model_validate(arguments.get("order"))
    except ValidationError:
        return None  # not to be read: then it has no place in the order to take


def _readable_zone(arguments: Mapping[str, Any]) -> str:
    try:
        return names.zone_name(arguments["zone"])
    except (InvalidRequest, KeyError, TypeError, AttributeError):
        return "?"


def _digest(kind: str, arguments: Mapping[str, Any]) -> str:
    readable = {key: value for key, value in arguments.items() if key != "order"}
    return sha256(json.dumps([kind, readable], sort_keys=True, default=str).encode()).hexdigest()
