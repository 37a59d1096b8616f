"""Takes submissions in together, and one by one where that fails, so that each has its own end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import sqlalchemy as sa

from dnsworker.database import AWAY, reading
from dnsworker.desired import Contended, Desired
from dnsworker.errors import InvalidRequest, NoAnswer
from dnsworker.intake.batch import Batch, Broken
from dnsworker.intake.submission import Arrival, Submission, reused, row_of
from dnsworker.intake.taken import Taken
from dnsworker.operations import Status
from dnsworker.permissions import PermissionsFile
from dnsworker.requests.request import Request
from dnsworker.settings import Settings
from dnsworker.store import operations
from dnsworker.store.pools import PoolDirectory

log = logging.getLogger(__name__)

#: Operations that are looked for at once.
BATCH = 200
#: Before a transaction begins again.
CONTENDED_S = 0.01
#: How long a dry run tries to find the zone free.
REHEARSAL_S = 4.0


def submit(
    connection: sa.Connection,
    operation_id: str,
    request: Request,
    user: str | None = None,
    *,
    traceparent: str | None = None,
) -> None:
    """Write an operation down as PENDING, for a worker to take in. Part of the caller's transaction.

    Raises `OperationIdReused` when the id is known with another payload; the same one changes nothing.
    """
    arrival = Arrival(operation_id, request.kind, {}, user, traceparent)
    row = row_of(arrival, Submission(operation_id, request.zone, arrival, request, None, request.order))
    if operations.insert(connection, {**row, "status": Status.PENDING.value, "is_untold": False}):
        return
    known = operations.get(connection, operation_id)
    if known is not None and known.digest != row["digest"]:
        raise reused(known)


class Intake:
    def __init__(
        self,
        engine: sa.Engine,
        directory: PoolDirectory,
        settings: Settings,
        permissions: PermissionsFile,
    ) -> None:
        self._engine, self._reading = engine, reading(engine)
        self._permissions = permissions
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
            taken.add(self._carefully([self._judged(one) for one in first.values()], wait=wait))
            arrivals = [one for one in arrivals if first[one.operation_id] is not one]
        return taken

    def _judged(self, arrival: Arrival) -> Submission:
        """A message as it was understood, and refused where its user isn't permitted that.

        Here and nowhere later: what waits for its turn was judged when it came, and what is submitted
        straight into the database is by whoever has the database.
        """
        one = Submission.of(arrival)
        if one.request is not None and one.refusal is None:
            one.refusal = self._permissions.current().refusal(arrival.user, one.request)
        return one

    @contextmanager
    def rehearse(
        self, arrival: Arrival, within: sa.Connection | None = None
    ) -> Iterator[tuple[sa.Connection, Batch]]:
        """What `receive` would make of a message, to be looked at in the connection; then it is undone.

        `within`: a caller's transaction, which goes on as it was. Raises `NoAnswer` while somebody else is at
        work on the zone, or one of `AWAY`.
        """
        submission = self._judged(arrival)
        deadline = time.monotonic() + REHEARSAL_S
        with ExitStack() as open_:
            connection = open_.enter_context(self._engine.connect()) if within is None else within
            while True:
                transaction = connection.begin() if within is None else connection.begin_nested()
                try:
                    batch = self._rehearsed(connection, submission)
                    if batch is not None:
                        yield connection, batch
                        return
                finally:
                    transaction.rollback()
                if time.monotonic() > deadline:
                    raise NoAnswer(f"zone {submission.zone} is being changed all the while; ask again")
                time.sleep(CONTENDED_S)

    def _rehearsed(self, connection: sa.Connection, submission: Submission) -> Batch | None:
        """None where it is to be tried again."""
        batch = Batch(connection, self._desired)
        try:
            batch.take([submission], wait=False)
        except Contended:
            return None
        except (Broken, sa.exc.DataError) as exc:
            if not _refuse(submission, exc):
                raise
            return None
        return None if batch.taken.busy else batch

    def take_in(self) -> Taken:
        """Take in what was submitted straight into the database, oldest first. What concerns a zone that
        somebody has locked is left for the next time."""
        taken = Taken()
        while True:
            with self._reading.connect() as connection:
                waiting = operations.pending(connection, BATCH, besides=taken.locked)
            more = self._carefully([Submission(row.id, row.zone) for row in waiting], wait=False)
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
                    batch = Batch(connection, self._desired)
                    batch.close_gap(client, zone)
                taken.add(batch.taken)
            except AWAY:
                raise
            except Contended:
                continue  # the next sweep
            except (sa.exc.DBAPIError, Broken) as exc:  # others must not be kept waiting
                log.exception("a gap can't be closed; it is tried again with the next sweep")
                self._foredoom(exc)
        return taken

    def _carefully(self, submissions: Sequence[Submission], *, wait: bool) -> Taken:
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

    def _alone(self, submission: Submission, error: Exception) -> Taken:
        """What couldn't be taken in, for its own sake or for that of something that waited for it.

        One that no code of ours can handle ends in its place in the order, and says so: else it, and all that
        came after it, would be tried for ever. What remains is in `Taken.failed`.
        """
        for _ in range(BATCH):
            if isinstance(error, Broken) and error.operation_id != submission.id:
                log.error(
                    "operation %s can't be taken in", error.operation_id, exc_info=error.__cause__,
                    extra={"operation": error.operation_id, "zone": submission.zone},
                )  # fmt: skip
                self._foredoom(error)
            elif not _refuse(submission, error) and not isinstance(error, sa.exc.IntegrityError):
                break  # else somebody took it in at the same time
            try:
                return self._together([submission], wait=True)
            except AWAY:
                raise
            except Exception as exc:  # noqa: BLE001 - judged above, or kept
                error = exc
        where = {"operation": submission.id, "zone": submission.zone}
        log.error("operation %s can't be taken in", submission.id, exc_info=error, extra=where)
        return Taken(failed={submission.id: error})

    def _foredoom(self, error: Exception) -> None:
        if isinstance(error, Broken):
            with self._engine.begin() as connection:
                operations.foredoom(connection, error.operation_id, error.error)

    def _together(self, submissions: Sequence[Submission], *, wait: bool) -> Taken:
        while True:
            try:
                with self._engine.begin() as connection:
                    batch = Batch(connection, self._desired)
                    batch.take(submissions, wait=wait)
                return batch.taken
            except Contended:
                time.sleep(CONTENDED_S)


def _refuse(submission: Submission, error: Exception) -> bool:
    """Whether the operation can't be handled for its own sake: then that is its refusal from now on."""
    where = {"operation": submission.id, "zone": submission.zone}
    if isinstance(error, Broken):
        log.error("operation %s can't be taken in", submission.id, exc_info=error.__cause__, extra=where)
        submission.refusal = error.error
        return True
    if isinstance(error, sa.exc.DataError) and submission.refusal is None:
        # Nothing that passed validation should get here; if it does, it must not come back for ever.
        log.error("the database can't hold operation %s", submission.id, exc_info=error, extra=where)
        reason = f"the database can't hold this operation: {type(error.orig).__name__}"
        submission.request, submission.refusal = None, InvalidRequest(reason)
        return True
    return False


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
