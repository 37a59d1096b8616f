"""Every error that dnsworker raises, and what each asks of whoever catches it.

The decision to try again is in the type (see `dnsworker.retry`)::

    DNSWorkerError
    ├── InvalidRequest            the submitter's fault: never retried
    │   ├── InvalidName
    │   ├── InvalidRecord
    │   ├── InvalidZoneFile
    │   ├── PoolNotFound · AmbiguousZone
    │   ├── ZoneNotFound · ZoneExists · ZoneIsMoving
    │   ├── RecordNotFound · RecordExists
    │   ├── UnsafeChange          needs force=True
    │   ├── Forbidden
    │   ├── Cancelled             by an operator, before any target had it
    │   ├── TooLate               to cancel
    │   ├── Overtaken             a later operation of the same client was applied first
    │   ├── OperationIdReused     the same id with another payload
    │   └── OperationNotFound
    ├── ConfigError               the operator's fault: said at start, not at 3 a.m.
    ├── SubmissionFailed          the broker or database did not confirm: nothing was promised
    ├── OperationFailed           what `wait()` raises for an operation that ended in ERROR
    ├── WaitTimeout               the operation goes on; only the waiting ended
    ├── NoAnswer                  no worker answered a question in time
    ├── ClaimLost                 another worker has taken this delivery over: stop writing
    └── BackendError              carries target and zone
        ├── Transient             try again later
        │   ├── Unreachable · ServerFailure · Busy · Behind
        │   └── RateLimited       carries retry_after_s
        ├── OutcomeUnknown        sent, no answer: read back before trying again
        ├── ZoneChanged           the zone isn't in the state that the plan starts from: read back
        └── Permanent             the same request will fail again
            ├── AuthenticationFailed
            ├── ZoneMissing       the server positively says that it hasn't got the zone
            ├── RecordRejected    carries the RRset (if the server named one) and the server's words
            └── Unsupported
"""

from __future__ import annotations

from typing import Any


class DNSWorkerError(Exception):
    """Something went wrong in dnsworker."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        super().__init__(self.message)

    @property
    def code(self) -> str:
        """The name that users see and programs compare: the class's own."""
        return type(self).__name__

    def __str__(self) -> str:
        return self.message


class InvalidRequest(DNSWorkerError):
    """The request can't be carried out as it stands."""


class InvalidName(InvalidRequest):
    """Not a usable domain name."""


class InvalidRecord(InvalidRequest):
    """Not a usable RRset."""


class InvalidZoneFile(InvalidRequest):
    """Not a usable zone file."""


class PoolNotFound(InvalidRequest):
    """No such pool."""


class AmbiguousZone(InvalidRequest):
    """Several pools hold a zone of this name: say which with pool=."""


class ZoneNotFound(InvalidRequest):
    """No such zone."""


class ZoneExists(InvalidRequest):
    """The zone exists already."""


class ZoneIsMoving(InvalidRequest):
    """The zone is on its way from one pool to another."""


class RecordNotFound(InvalidRequest):
    """No such RRset."""


class RecordExists(InvalidRequest):
    """The RRset exists already."""


class UnsafeChange(InvalidRequest):
    """The change would remove more than the guard allows: say force=True if it is meant."""


class Forbidden(InvalidRequest):
    """Not allowed for this submitter."""


class Cancelled(InvalidRequest):
    """Cancelled by operator."""


class TooLate(InvalidRequest):
    """The operation can't be cancelled any more."""


class Overtaken(InvalidRequest):
    """A later operation of the same client on this zone was applied before this one arrived."""


class OperationIdReused(InvalidRequest):
    """This operation id was used before, with another payload."""


class OperationNotFound(InvalidRequest):
    """No operation with this id."""


class ConfigError(DNSWorkerError):
    """The configuration can't work."""


class SubmissionFailed(DNSWorkerError):
    """The submission was not confirmed: nothing was promised.

    `may_have_arrived` is False where the broker certainly hasn't got it. Submitting the same again is safe
    with the same `operation_id`.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        may_have_arrived: bool = False,
        operation_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived
        self.operation_id = operation_id


class WaitTimeout(DNSWorkerError):
    """The operation has not ended yet; it goes on.

    `outcome` is what was last known of it, None if nothing.
    """

    def __init__(self, message: str | None = None, outcome: Any = None) -> None:
        super().__init__(message)
        self.outcome = outcome


class NoAnswer(DNSWorkerError):
    """No worker answered in time."""


class ClaimLost(DNSWorkerError):
    """Another worker has taken this delivery over."""


class OperationFailed(DNSWorkerError):
    """The operation ended in ERROR.

    `outcome` is the operation as `operation show` tells it (a dict in JSON terms, or an `Outcome`).
    """

    def __init__(self, error_code: str, message: str, outcome: Any = None) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.outcome = outcome
        # Celery's result backends carry an exception as its args: keep them enough to rebuild it.
        self.args = (error_code, message, outcome)

    @property
    def code(self) -> str:
        return self.error_code

    def __str__(self) -> str:
        return f"{self.error_code}: {self.message}"


class BackendError(DNSWorkerError):
    """A target did not do what it was asked.

    `target` and `zone` are filled in by whoever knows them (the delivery); an adapter needn't.
    """

    def __init__(self, message: str | None = None, *, target: str | None = None, zone: str | None = None):
        super().__init__(message)
        self.target = target
        self.zone = zone


class Transient(BackendError):
    """The target can't do it now."""


class Unreachable(Transient):
    """The target could not be reached: nothing was sent."""


class ServerFailure(Transient):
    """The target answered that it failed."""


class Busy(Transient):
    """The target is occupied with something else."""


class Behind(Transient):
    """The target has not transferred the change from its primary yet."""


class RateLimited(Transient):
    """The target asks for fewer requests."""

    def __init__(
        self, message: str | None = None, *, retry_after_s: float | None = None, **where: Any
    ) -> None:
        super().__init__(message, **where)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(BackendError):
    """The request was sent and no answer came: it may or may not have been carried out."""


class ZoneChanged(BackendError):
    """The zone on the target is not in the state that the plan starts from."""


class Permanent(BackendError):
    """The target refuses, and will refuse the same again."""


class AuthenticationFailed(Permanent):
    """The target doesn't accept our credentials."""


class ZoneMissing(Permanent):
    """The target says that it hasn't got the zone."""


class RecordRejected(Permanent):
    """The target refuses a record.

    `rrset` names it as (name, type) where the server did; None where it refused the request as a whole.
    """

    def __init__(
        self, message: str | None = None, *, rrset: tuple[str, str] | None = None, **where: Any
    ) -> None:
        super().__init__(message, **where)
        self.rrset = rrset


class Unsupported(Permanent):
    """The target can't hold or do this."""
