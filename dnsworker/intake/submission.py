"""One submission on its way in: as it came, as it was understood, and the row that it becomes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Self

from pydantic import ValidationError

from dnsworker import names
from dnsworker.errors import InvalidRequest, OperationIdReused
from dnsworker.requests.kinds import parse_request
from dnsworker.requests.request import Order, Request

#: The zone of a message that names none.
UNREADABLE = "?"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One submission, as a message brought it."""

    operation_id: str
    kind: str
    arguments: Mapping[str, Any]
    #: Whom the broker vouches for.
    user: str | None = None
    #: Where its submitter is in a trace: `tracing.context.readable`.
    traceparent: str | None = None


@dataclass(slots=True)
class Submission:
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


def row_of(arrival: Arrival, one: Submission) -> dict[str, Any]:
    """The operation's row, but for what becomes of it."""
    payload = one.payload()
    row = {
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
    if arrival.traceparent is not None:
        row["traceparent"] = arrival.traceparent
    return row


def reused(known: Any) -> OperationIdReused:
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
