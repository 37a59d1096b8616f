"""The parts of a worker put together: intake, deliveries, verification and the sweep that misses nothing.

One object per process. Tasks call it; it never knows that Celery exists.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from dnsworker import database, history, names, preview
from dnsworker.claiming import free_dead_owner
from dnsworker.delivery import Deliverer
from dnsworker.errors import DNSWorkerError, OperationIdReused, OperationNotFound
from dnsworker.intake import UNREADABLE, Arrival, Intake, Taken
from dnsworker.lineage import Lineage
from dnsworker.liveness import process_lock
from dnsworker.monitoring.events import Events
from dnsworker.names import Name
from dnsworker.operations import Outcome, Preview, Status
from dnsworker.permissions import PermissionsFile
from dnsworker.reports.outcomes import show_ended, show_operation, show_operations
from dnsworker.reports.zones import export_zone, list_records, show_zone
from dnsworker.requests.questions import DryRunQuery, parse_query
from dnsworker.retention import Retention
from dnsworker.settings import Settings
from dnsworker.settlement import Settled
from dnsworker.store import agenda, census, claims, comparisons, operations, purges, zones
from dnsworker.store.pools import PoolDirectory
from dnsworker.tracing.notes import End
from dnsworker.tracing.notes import Intake as IntakeNote
from dnsworker.tracing.tracing import Tracing
from dnsworker.verification import Verifier

log = logging.getLogger(__name__)

BATCH = 500
#: The sweep repeats an outcome that was not noted as told after this long.
TELL_AGAIN_S = 5.0
#: A zone that the sweep has found due for a look comes up again after this long, if nothing comes of it.
LOOK_AGAIN_S = 30.0
#: How long those who waited for the database may take to notice that it is back (`tasks.patience`).
RETURN_S = 10.0


class Signals(Protocol):
    """How the runtime reaches the rest of the system."""

    def wake_delivery(self, target: str) -> None:
        """Let some worker look at what is due for the target. Never raises: the sweep repeats."""

    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Tell whoever waits for the operations. Raises when not all could be told."""


class Runtime:
    def __init__(
        self,
        settings: Settings,
        signals: Signals,
        events: Events | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """`events`: where to count what happens, for who shows it. `tracing`: as the environment says."""
        self._settings, self._signals = settings, signals
        self.events = events or Events()
        self._tracing = tracing or Tracing()
        self._engine = database.connect(settings.database(), pool_size=settings.concurrency + 8)
        self._reading = database.reading(self._engine)
        self._directory = PoolDirectory(self._engine)
        self._lock = process_lock(self._engine)
        self._lineage = Lineage(self._engine, settings.redis(), settings.keep_days)
        #: So many zones are ahead that nothing is repaired.
        self._is_alarmed = False
        self._permissions = PermissionsFile(settings.permissions)
        self._intake = Intake(self._engine, self._directory, settings, self._permissions)
        self._retention = Retention(self._engine, settings)
        self._verifier = Verifier(
            self._engine, self._directory, settings, self._settled, self.events, self._tracing
        )
        self._deliverer = Deliverer(
            self._engine, self._directory, settings, self._lock, self._lineage,
            on_progress=self._verifier.look, on_retry=self._wake_later,
            call_later=self._verifier.call_later, events=self.events, tracing=self._tracing,
        )  # fmt: skip

    def start(self) -> None:
        """Raises `ConfigError` when the database isn't this code's."""
        database.check_version(self._engine)
        if not self._settings.is_embedded:  # else there is no broker, and whoever submits has the database
            self._permissions.say()
        self._lock.take()
        self._lineage.recall()
        self._verifier.start()
        self._tracing.start(self._engine)

    def stop(self) -> None:
        self._deliverer.stop()
        self._verifier.stop()
        self._lock.release()
        self._lineage.close()
        self._tracing.stop()
        self._engine.dispose()

    # --- what tasks call -------------------------------------------------------------------------------

    def receive(
        self,
        operation_id: str,
        kind: str,
        arguments: Mapping[str, Any],
        user: str | None,
        traceparent: str | None = None,
    ) -> Outcome:
        """Take in one submission. Raises `OperationIdReused`; any other refusal is in the outcome."""
        taken = self.receive_all([Arrival(operation_id, kind, arguments, user, traceparent)])
        if operation_id in taken.reused:
            raise taken.reused[operation_id]
        if operation_id in taken.failed:
            raise taken.failed[operation_id]
        with self._reading.connect() as connection:
            return show_operation(connection, operation_id)

    def receive_all(self, arrivals: Sequence[Arrival], *, wait: bool = True) -> Taken:
        """Take in many submissions at once; see `Intake.receive`."""
        begun_ns = time.time_ns()
        taken = self._intake.receive(arrivals, wait=wait)
        self._spread(taken, begun_ns, arrivals)
        for one in arrivals if taken.reused else ():
            if error := taken.reused.get(one.operation_id):
                log.warning(
                    "refused: %s (submitted by %s)", error.message, one.user or "nobody known",
                    extra={"operation": one.operation_id},
                )  # fmt: skip
        return taken

    def take_in(self) -> None:
        """Take in what was submitted straight into the database."""
        begun_ns = time.time_ns()
        self._spread(self._intake.take_in(), begun_ns)

    def deliver(self, target: str) -> str:
        """Handle what is due for the target; returns a summary for people."""
        return self._deliverer.run(target)

    def ask(self, kind: str, arguments: Mapping[str, Any], user: str | None = None) -> Any:
        """Answer a question of `user` in JSON terms. Raises `InvalidRequest` (or `Forbidden`), `NoAnswer`."""
        query = parse_query(kind, arguments)
        permissions = self._permissions.current()
        if kind == "show_operation":
            return self._show_operation(query.id, user).model_dump(mode="json")
        if kind == "dry_run":
            permissions.check_dry_run(user, query.request)
            return self._dry_run(query, user).model_dump(mode="json")
        permissions.check_question(user, query)
        with self._reading.connect() as connection:
            if kind == "show_history":
                return history.show_history(connection, query)
            if kind == "show_zone":
                return show_zone(connection, query.zone, query.pool)
            if kind == "export_zone":
                return export_zone(connection, query.zone, query.pool)
            return list_records(connection, query.zone, query.pool, query.owner, query.type)

    def _show_operation(self, operation_id: str, user: str | None) -> Outcome:
        """Everybody may see their own; another's only who may read its zone, to others there is none."""
        with self._reading.connect() as connection:
            outcome = show_operation(connection, operation_id)
        if self._may_read(user, outcome):
            return outcome
        if not user or outcome.submitter != user:
            raise OperationNotFound(f"no operation {operation_id}")
        return outcome.of_the_operation_alone()

    def _dry_run(self, query: DryRunQuery, user: str | None) -> Preview:
        foreseen = preview.foresee(self._intake, query, user)
        if query.id is not None and foreseen.code == OperationIdReused.__name__:
            try:
                self._show_operation(query.id, user)
            except OperationNotFound:  # whose it is isn't theirs to know
                words = f"operation id {query.id} was used before; every operation needs its own"
                return foreseen.model_copy(update={"message": words})
        return foreseen

    def _may_read(self, user: str | None, outcome: Outcome) -> bool:
        """Whether the user may read all of the operation's zone; where it names none, of every zone."""
        zone = names.ROOT if outcome.zone == UNREADABLE else Name(outcome.zone)
        return self._permissions.current().may_read(user, zone, outcome.pool)

    def target_names(self) -> list[str]:
        """All targets of all pools."""
        return self._directory.target_names()

    def check_database(self) -> None:
        """Raises one of `database.AWAY` when it is."""
        database.ping(self._engine)

    def is_verifying(self, timeout_s: float) -> bool:
        """Whether the verification's loop goes round."""
        return self._verifier.is_turning(timeout_s)

    def reload_pools(self) -> None:
        self._directory.forget()

    def sweep(self) -> dict[str, int]:
        """Find what fell by the wayside, by index and in bounded batches; returns how much of each."""
        begun = time.monotonic()
        found = self._sweep()
        self.events.swept(found, time.monotonic() - begun)
        return found

    def _sweep(self) -> dict[str, int]:
        self._lock.take()  # a lock lost with its connection is taken anew
        self._lineage.look()
        self._deliverer.give_back_unended()
        begun_ns = time.time_ns()
        closed = self._intake.close_gaps() if self._may_close_gaps() else Taken()
        self._spread(closed, begun_ns)
        self.take_in()
        self._advance_purges()
        with self._reading.connect() as connection:
            owners = claims.owners(connection)
            untold = operations.untold(connection, TELL_AGAIN_S, BATCH)
            counted = census.count_on(connection)
        with self._engine.begin() as connection:
            looks = zones.take_for_a_look(connection, BATCH, LOOK_AGAIN_S)
            census.note(connection, counted)
        dead = sum(free_dead_owner(self._engine, self._lock, owner) for owner in owners)
        targets = self._targets_with_due()
        for target in targets:
            self._signals.wake_delivery(target)
        for zone_id in looks:
            self._verifier.look(zone_id)
        # An operator has ended them, or somebody who died before telling: what is told twice is one span.
        self._note_ends(self._tell(untold))
        purged = self._retention.advance()
        found = {
            "gaps": len(closed.ended),
            "dead_workers": dead,
            "targets": len(targets),
            "looks": len(looks),
        }
        return found | {"untold": len(untold), "purged": purged}

    def _targets_with_due(self) -> list[str]:
        """Targets at which something is to be done now; only changes while so many zones are ahead."""
        looked_at = [
            name for known in self._directory.all() for name in known.target_ids if known.compares(name)
        ]
        with self._reading.connect() as connection:
            alarm = comparisons.mass_ahead(connection)
            if alarm is None:
                priorities = (agenda.CHANGE, agenda.REPAIR)
                targets = agenda.targets_with_due(connection, priorities=priorities, looked_at=looked_at)
            else:
                targets = agenda.targets_with_due(connection, priorities=(agenda.CHANGE,), looked_at=())
        if alarm is not None and not self._is_alarmed:
            log.error("%s", alarm)
        elif alarm is None and self._is_alarmed:
            log.warning("not so many zones are ahead any more: repairs go on")
        self._is_alarmed = alarm is not None
        return targets

    def _advance_purges(self) -> None:
        """Forget the targets at which nothing of ours is left."""
        with self._reading.connect() as connection:
            rows = purges.rows(connection)
        for row in rows:
            with self._engine.begin() as connection:
                is_done = purges.advance(connection, row.id)
            if is_done:
                log.info(
                    "target %s is purged: no zone of ours is left there", row.name, extra={"target": row.name}
                )
                self._directory.forget()

    def _may_close_gaps(self) -> bool:
        """What is missing may have waited for the database all the while, and comes in a moment."""
        return time.monotonic() - self._lock.since >= min(RETURN_S, self._settings.ordering_grace_s)

    # --- spreading the word ----------------------------------------------------------------------------

    def _spread(self, taken: Taken, begun_ns: int, arrivals: Sequence[Arrival] = ()) -> None:
        """`arrivals`: the messages that came just now."""
        self.events.took_in(taken.decisions)
        if self._tracing.is_on and taken.decisions:
            ids = {one.operation_id for one in arrivals}
            by_message = ids & taken.decisions.keys()
            self._tracing.note(IntakeNote(begun_ns, time.time_ns(), taken.decisions, by_message))
        refused = {key for key, one in taken.decisions.items() if one.status is Status.ERROR}
        for target in taken.targets:
            self._signals.wake_delivery(target)
        for zone_id in taken.unchanged:
            self._verifier.look(zone_id)
        self._tell(taken.ended, ends=refused)

    def _settled(self, connection: sa.Connection, settled: Sequence[Settled]) -> Callable[[], None]:
        """What is to be told is read within the transaction, and told after it."""
        outcomes = show_ended(connection, settled)

        def tell() -> None:
            self.events.ended(outcomes)
            for outcome in outcomes:
                _log_end(outcome)
            self._note_ends(outcomes)
            for target in {target: None for one in settled for target in one.targets}:
                self._signals.wake_delivery(target)
            self._publish(outcomes)

        return tell

    def _wake_later(self, target: str, delay_s: float) -> None:
        self._verifier.call_later(delay_s, lambda: self._signals.wake_delivery(target))

    def _tell(self, operation_ids: Iterable[str], *, ends: Container[str] = ()) -> list[Outcome]:
        """Tell waiters of ends. What can't be told stays in the outbox for the sweep.

        `ends`: those of the operations that have ended just now. Returns all that have ended.
        """
        ids = list(operation_ids)
        if not ids:
            return []
        with self._reading.connect() as connection:
            outcomes = show_operations(connection, ids)
        ended = [outcome for outcome in outcomes if outcome.id in ends]
        for outcome in ended:
            _log_end(outcome)
        self._note_ends(ended)
        final = [outcome for outcome in outcomes if outcome.status.is_final]
        self._publish(final)
        return final

    def _note_ends(self, outcomes: Sequence[Outcome]) -> None:
        if self._tracing.is_on and outcomes:
            self._tracing.note(End(outcomes))

    def _publish(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        told = [
            one if self._may_read(one.submitter, one) else one.of_the_operation_alone() for one in outcomes
        ]
        try:
            self._signals.publish_outcomes(told)
        except (DNSWorkerError, OSError) as exc:
            log.warning("could not tell the outcomes of %d operations yet: %s", len(outcomes), exc)
            return
        with self._engine.begin() as connection:
            operations.told(connection, [outcome.id for outcome in outcomes])


def _log_end(outcome: Outcome) -> None:
    where: dict[str, Any] = {
        "operation": outcome.id, "pool": outcome.pool, "zone": outcome.zone,
        "status": outcome.status.value, "code": outcome.code,
    }  # fmt: skip
    took = ""
    if outcome.finished_at and outcome.submitted_at:
        took_s = (outcome.finished_at - outcome.submitted_at).total_seconds()
        where["took_s"] = round(took_s, 3)
        took = f" after {took_s * 1000:.0f} ms"
    reason = f": {outcome.code}: {outcome.message}" if outcome.code else ""
    log.info("%s %s %s%s%s", outcome.kind, outcome.zone, outcome.status, took, reason, extra=where)
