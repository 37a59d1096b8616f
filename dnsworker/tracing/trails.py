"""What workers noted about operations, made into spans: each below the span of the operation that it is of.

    submitter's span
    └─ send dns.submit                 the client
       └─ put_record                   the operation: from its submission to its end
          ├─ process dns.submit        an intake
          ├─ deliver bind              a delivery to a target, and each attempt that failed
          └─ verify 192.0.2.1:53       the look at a nameserver that found it there

Work is done for many operations at once. Each has its own span of it; where one delivery carried several to a
zone, they are linked with the first of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import sqlalchemy as sa
from opentelemetry.trace import SpanKind

from dnsworker.intake import Decision
from dnsworker.logs import without_secrets
from dnsworker.operations import Outcome, Status
from dnsworker.queues import INTAKE_KEY, SUBMIT
from dnsworker.store import traces
from dnsworker.store.traces import Traced
from dnsworker.tracing.context import Place, place_of
from dnsworker.tracing.notes import Delivery, End, Intake, Leg, Note, Verification
from dnsworker.tracing.spans import Spans, Value
from dnsworker.tracing.submitting import of_operation, over_rabbitmq

#: Operations of one zone that a delivery has carried; more than that have no span of it.
CARRIED = 10_000
#: And of which an attempt is told that failed: there may be many attempts.
FAILED = 10
#: Spans may have 128 links, and one that has more drops the first ones.
LINKS = 127


class Trails:
    """For one thread."""

    def __init__(self, engine: sa.Engine, spans: Spans) -> None:
        self._engine, self._spans = engine, spans

    def follow(self, notes: Sequence[Note]) -> None:
        """Make the spans of all notes; the rows that they are about are read together."""
        with self._engine.connect() as connection:
            concerned = [_operations(connection, one) for one in notes]
            rows = traces.of(connection, {id_ for parts in concerned for ids in parts for id_ in ids})
        for one, parts in zip(notes, concerned, strict=True):
            for ids in parts:
                found = {id_: rows[id_] for id_ in ids if id_ in rows}
                if isinstance(one, Delivery):
                    self._delivered(one, list(found.values()))
                elif isinstance(one, Verification):
                    self._verified(one, found.values())
                elif isinstance(one, Intake):
                    self._took_in(one, found)
                else:
                    self._ended(one, found)

    def _took_in(self, note: Intake, rows: Mapping[str, Traced]) -> None:
        for row in rows.values():
            decision, is_process = note.decisions[row.id], row.id in note.by_message
            self._spans.make(
                f"process {SUBMIT.name}" if is_process else "intake",
                parent=self._place(row), begun_ns=note.begun_ns, ended_ns=note.ended_ns,
                kind=SpanKind.CONSUMER if is_process else SpanKind.INTERNAL,
                attributes=_intake_attributes(row, decision, note, is_process=is_process),
                error=decision.code,
            )  # fmt: skip

    def _delivered(self, note: Delivery, operations: Sequence[Traced]) -> None:
        first: Place | None = None
        places = [self._place(one) for one in operations]
        for one, place in zip(operations, places, strict=True):
            attributes = _attributes(one) | {
                "dnsworker.target": note.target,
                "dnsworker.delivery.operations": len(operations),
                "dnsworker.delivery.zones": len(note.legs),
            }
            made = self._spans.make(
                f"deliver {note.target}", parent=place, begun_ns=note.begun_ns, ended_ns=note.ended_ns,
                kind=SpanKind.CLIENT, attributes=attributes | _error_type(note.code),
                links=places[1 : LINKS + 1] if first is None else [first],
                error=None if note.code is None else without_secrets(note.message or note.code),
            )  # fmt: skip
            first = first or made

    def _verified(self, note: Verification, operations: Iterable[Traced]) -> None:
        host, _, port = note.nameserver.rpartition(":")
        for one in operations:
            self._spans.make(
                f"verify {note.nameserver}", parent=self._place(one), kind=SpanKind.CLIENT,
                begun_ns=note.begun_ns, ended_ns=note.ended_ns,
                attributes=_attributes(one) | {
                    "server.address": host.strip("[]"), "server.port": int(port),
                    "network.protocol.name": "dns", "dns.question.name": note.zone,
                    "dnsworker.verification.looks": note.looks,
                },
            )  # fmt: skip

    def _ended(self, note: End, rows: Mapping[str, Traced]) -> None:
        for one in note.outcomes:
            row = rows.get(one.id)
            if row is None or one.finished_at is None:
                continue
            ended_ns = int(one.finished_at.timestamp() * 1e9)
            # A submitter's clock may be ahead of the database's, and its id may name any time at all.
            begun_ns = ended_ns if one.submitted_at is None else int(one.submitted_at.timestamp() * 1e9)
            is_failed = one.status is Status.ERROR
            self._spans.make(
                one.kind, parent=place_of(row.traceparent), place=self._place(row),
                begun_ns=min(begun_ns, ended_ns), ended_ns=ended_ns,
                attributes=_attributes(row) | _outcome_attributes(one),
                error=without_secrets(one.message or one.code or "") if is_failed else None,
            )  # fmt: skip

    def _place(self, row: Traced) -> Place:
        return self._spans.place_of(row.id, row.kind, place_of(row.traceparent))


def _operations(connection: sa.Connection, note: Note) -> Sequence[Collection[str]]:
    """Of which operations a note is; of a delivery, those of each zone."""
    if not isinstance(note, Delivery):
        return [note.operation_ids]
    limit = CARRIED if note.code is None else FAILED
    return [leg.operations[:limit] or _between(connection, leg, limit) for leg in note.legs]


def _between(connection: sa.Connection, leg: Leg, limit: int) -> Collection[str]:
    return traces.between(connection, leg.zone_id, leg.low, leg.high, limit) if leg.low < leg.high else []


def _attributes(row: Traced) -> dict[str, Value]:
    return dict(of_operation(row.id, row.kind, row.zone))


def _intake_attributes(
    row: Traced, decision: Decision, note: Intake, *, is_process: bool
) -> dict[str, Value]:
    found = _attributes(row) | {"dnsworker.operation.status": decision.status.value}
    if is_process:
        found |= {
            **over_rabbitmq(SUBMIT.name, INTAKE_KEY),
            "messaging.operation.type": "process", "messaging.operation.name": "process",
            "messaging.message.id": row.id,
        }  # fmt: skip
        if len(note.by_message) > 1:
            found["messaging.batch.message_count"] = len(note.by_message)
    return found | _error_type(decision.code)


def _outcome_attributes(outcome: Outcome) -> dict[str, Value]:
    found: dict[str, Value | None] = {
        "dnsworker.operation.status": outcome.status.value,
        "dnsworker.pool": outcome.pool,
        "dnsworker.serial": outcome.serial,
    }
    return {name: value for name, value in found.items() if value is not None} | _error_type(outcome.code)


def _error_type(code: str | None) -> dict[str, Value]:
    return {} if code is None else {"error.type": code}
