"""The handle that a submission returns.

Separate from the client so that a handle is small and can be made again from an id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dnsworker.errors import OperationFailed, OperationIdReused, OperationNotFound, WaitTimeout
from dnsworker.operations import Outcome, Preview, Status


class Teller(Protocol):
    """Who can say how an operation stands."""

    def show(self, operation_id: str) -> Outcome: ...  # OperationNotFound
    def wait(self, operation_id: str, timeout_s: float) -> Outcome | None: ...


class Operation:
    """One submitted operation. It needs not be kept: `Client.operation(id)` makes another handle."""

    #: What it would have done; None unless it was submitted with `dry_run=True`.
    preview: Preview | None = None

    def __init__(
        self,
        teller: Teller,
        operation_id: str,
        kind: str = "",
        zone: str = "",
        digest: Callable[[], str] | None = None,
    ) -> None:
        """`digest`: that of what was submitted, made when it is waited for, since most never are; without it
        the handle takes whatever the id stands for."""
        self._teller = teller
        self._kind, self._zone = kind, zone
        self._digest: str | Callable[[], str] | None = digest
        #: UUIDv7; later operations have greater ones.
        self.id = operation_id

    def status(self) -> Status:
        """Where the operation is now; PENDING until a worker has taken it in. Raises `NoAnswer`."""
        return self.outcome().status

    def outcome(self) -> Outcome:
        """All that is known of the operation now. Raises `NoAnswer` when no worker answers."""
        try:
            return self._teller.show(self.id)
        except OperationNotFound:
            if not self._kind:
                raise  # made from an id: perhaps there is no such operation
            return Outcome(id=self.id, kind=self._kind, zone=self._zone, status=Status.PENDING)

    def wait(self, timeout: float = 30.0) -> Outcome:
        """Block until the operation has ended, at most `timeout` seconds; its outcome if it has succeeded.

        Raises `OperationFailed` (with `.outcome`) if it ended in ERROR, `WaitTimeout` if it hasn't ended.
        """
        if callable(self._digest):
            self._digest = self._digest()
        outcome = self._teller.wait(self.id, timeout)
        if outcome is None or not outcome.status.is_final:
            state = f"is {outcome.status}" if outcome else "has not ended"
            reason = f": {outcome.message}" if outcome and outcome.message else ""
            raise WaitTimeout(f"operation {self.id} {state} after {timeout:g} s{reason}", outcome)
        if outcome.status is Status.ERROR:
            raise OperationFailed(outcome.code or "Error", outcome.message or "no reason given", outcome)
        if None not in (self._digest, outcome.digest) and self._digest != outcome.digest:
            # The refused one has no row of its own: the id says only how the first got on.
            raise OperationFailed(
                OperationIdReused.__name__,
                f"operation id {self.id} was used before, for {outcome.kind} {outcome.zone}; "
                "every operation needs its own",
                outcome,
            )
        return outcome

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self._kind} {self._zone}".rstrip() + ">"


class DryRun(Operation):
    """An operation that was not submitted. What it tells is what was foreseen, and doesn't change."""

    preview: Preview

    def __init__(self, teller: Teller, operation_id: str, preview: Preview) -> None:
        super().__init__(teller, operation_id, preview.kind, preview.zone)
        self.preview = preview

    def outcome(self) -> Outcome:
        """ERROR with the refusal, or ACCEPTED, with the serial that it would have got."""
        found = self.preview
        return Outcome(
            id=self.id, kind=found.kind, zone=found.zone, pool=found.pool, serial=found.serial,
            status=Status.ERROR if found.is_refused else Status.ACCEPTED,
            code=found.code, message=found.message,
        )  # fmt: skip

    def wait(self, timeout: float = 30.0) -> Outcome:
        """The outcome, at once. Raises `OperationFailed` where it would be refused."""
        outcome = self.outcome()
        if outcome.status is Status.ERROR:
            raise OperationFailed(outcome.code or "Error", outcome.message or "no reason given", outcome)
        return outcome
