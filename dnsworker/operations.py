"""What a service can ask for, what becomes of it, and how that is told.

An *operation* is one request of a client: it has an id, a place in the client's order and exactly one end.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Action = Literal["create", "update", "put", "delete"]


class Status(StrEnum):
    """The states of an operation. The last three are ends: nothing follows them."""

    #: Submitted; no worker has taken it in yet.
    PENDING = "PENDING"
    #: Waits for earlier operations of the same client on the same zone.
    HELD = "HELD"
    #: Applied to the desired state under a serial; on its way to the nameservers.
    ACCEPTED = "ACCEPTED"
    #: The nameservers were asked and gave the answer that the zone, with the change, must give.
    ACTIVE = "ACTIVE"
    #: Refused, or rejected by the targets; it never takes effect later.
    ERROR = "ERROR"
    #: A later operation replaced all that it changed, and that one is ACTIVE.
    SUPERSEDED = "SUPERSEDED"

    @property
    def is_final(self) -> bool:
        return self in (Status.ACTIVE, Status.ERROR, Status.SUPERSEDED)

    @property
    def has_succeeded(self) -> bool:
        return self in (Status.ACTIVE, Status.SUPERSEDED)


class ZoneStatus(StrEnum):
    """The states of a zone; each comes with a reason."""

    #: Not enough nameservers answer with the wanted contents yet.
    PENDING = "PENDING"
    #: Every target and nameserver has the wanted contents.
    ACTIVE = "ACTIVE"
    #: The threshold is met, but some target fails or withholds a record.
    DEGRADED = "DEGRADED"
    #: The threshold can't be met as things are.
    ERROR = "ERROR"
    #: Deleted; the row stays and keeps the serial.
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Change:
    """One wish for one RRset, as a part of `change_zone`.

    `name` and `data` are what a user types; they are validated when the operation is built, against its
    zone. `ttl=None` keeps the RRset's TTL, or takes the zone's default for a new one.
    """

    action: Action
    name: str
    type: str
    data: tuple[str, ...] = ()
    ttl: int | None = None

    @classmethod
    def create(cls, name: str, type: str, data: Iterable[str], *, ttl: int | None = None) -> Change:
        """Fails if the RRset exists."""
        return cls("create", name, type, _texts(data), ttl)

    @classmethod
    def update(cls, name: str, type: str, data: Iterable[str], *, ttl: int | None = None) -> Change:
        """Fails if the RRset doesn't exist."""
        return cls("update", name, type, _texts(data), ttl)

    @classmethod
    def put(cls, name: str, type: str, data: Iterable[str], *, ttl: int | None = None) -> Change:
        """Creates or replaces (upsert)."""
        return cls("put", name, type, _texts(data), ttl)

    @classmethod
    def delete(cls, name: str, type: str) -> Change:
        """Fails if the RRset doesn't exist."""
        return cls("delete", name, type)

    def to_json(self) -> dict[str, Any]:
        wish: dict[str, Any] = {"action": self.action, "name": self.name, "type": self.type}
        if self.action != "delete":
            wish["data"] = list(self.data)
            if self.ttl is not None:
                wish["ttl"] = self.ttl
        return wish


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class TargetReport(_Report):
    """How far one target is with an operation or zone."""

    target: str
    #: Has the target the wanted contents?
    is_current: bool
    #: The serial that the target was last known to have; None when it hasn't got the zone.
    serial: int | None = None
    #: When it got there.
    delivered_at: datetime | None = None
    state: str
    attempts: int = 0
    last_error: str | None = None
    next_attempt_at: datetime | None = None
    #: What was found changed by somebody else and put right, last time.
    last_repair: str | None = None
    last_repair_at: datetime | None = None
    #: What somebody else changed there and stays so, because the pool says `on_drift: report`.
    drift: str | None = None
    #: RRsets that this target refused, with its words.
    withheld: list[dict[str, Any]] = []
    #: What the zone's parent should have, of the keys that the target signs with; as of the last delivery.
    ds_records: list[str] = []


class NameserverReport(_Report):
    """What one nameserver last answered."""

    nameserver: str
    is_current: bool
    serial: int | None = None
    #: When it was first found to answer with all that it is known to answer with.
    verified_at: datetime | None = None
    seen_at: datetime | None = None
    error: str | None = None


class Outcome(_Report):
    """An operation as it stands; final when `status.is_final`."""

    id: str
    kind: str
    zone: str
    pool: str | None = None
    status: Status
    #: The error's class name, for programs; None unless ERROR.
    code: str | None = None
    #: One line: the reason for the status.
    message: str | None = None
    serial: int | None = None
    comment: str | None = None
    #: The AMQP user that the broker vouched for; None: nobody known, or straight into the database.
    submitter: str | None = None
    #: Of what was asked for (`Request.digest`): another one under the same id is another operation.
    digest: str | None = None
    submitted_at: datetime | None = None
    accepted_at: datetime | None = None
    finished_at: datetime | None = None
    targets: list[TargetReport] = []
    nameservers: list[NameserverReport] = []

    def of_the_operation_alone(self) -> Outcome:
        """Without what the reports tell of other changes to the zone: for who may not read all of it."""
        others: dict[str, Any] = {"last_repair": None, "last_repair_at": None, "drift": None}
        return self.model_copy(update={"targets": [one.model_copy(update=others) for one in self.targets]})


class Preview(_Report):
    """What an operation would have done at the moment of the question (`dry_run=True`)."""

    kind: str
    zone: str
    pool: str | None = None
    #: The refusal's class name and its one line; None where it would be accepted.
    code: str | None = None
    message: str | None = None
    #: The zone's serial (None: there is no such zone), and the one that it would have got.
    current_serial: int | None = None
    serial: int | None = None
    #: What becomes of the zone itself: `created`, `deleted`, `moved`, or None.
    becomes: str | None = None
    #: How many RRsets would come, be replaced and go.
    created: int = 0
    updated: int = 0
    deleted: int = 0
    #: The RRsets, each with `name`, `type`, and `before` and `after` (`ttl`, `data`; None: not there); of
    #: many, the first ones.
    rrsets: list[dict[str, Any]] = []
    #: The zone's own values: `name`, `before`, `after`.
    settings: list[dict[str, Any]] = []
    #: Targets that would have something to do.
    targets: list[str] = []

    @property
    def is_refused(self) -> bool:
        return self.code is not None

    @property
    def is_cut(self) -> bool:
        """Whether `rrsets` are only the first ones."""
        return len(self.rrsets) < self.created + self.updated + self.deleted

    @property
    def has_changes(self) -> bool:
        return bool(self.becomes or self.created or self.updated or self.deleted or self.settings)


def submitted_at(operation_id: str, received_at: datetime | None) -> datetime | None:
    """A UUIDv7 (RFC 9562, section 5.7) says when it was made; else when it arrived is all that is known."""
    try:
        parsed = uuid.UUID(operation_id)
        if parsed.version != 7:
            return received_at
        # The id is a submitter's: it may name any time up to the year 10889.
        return datetime.fromtimestamp((parsed.int >> 80) / 1000, tz=UTC)
    except ValueError:
        return received_at


def _texts(data: Iterable[str]) -> tuple[str, ...]:
    return (data,) if isinstance(data, str) else tuple(data)
