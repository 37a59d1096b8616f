"""What an intake makes of submissions, for whoever has to spread the word."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from dnsworker.errors import OperationIdReused
from dnsworker.intake.submission import Arrival
from dnsworker.operations import Status


@dataclass(frozen=True, slots=True)
class Fate:
    """What an intake made of an operation."""

    status: Status
    serial: int | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What this very intake, and no earlier one, made of an operation; for whoever counts."""

    kind: str
    status: Status
    code: str | None
    #: Nobody had decided anything about it before.
    is_first: bool
    #: When its row was written; None for a message that has just come.
    received_at: datetime | None


@dataclass(slots=True)
class Taken:
    """What an intake did, for whoever has to spread the word."""

    #: By operation.
    fates: dict[str, Fate] = field(default_factory=dict)
    #: By operation, without those that were known already.
    decisions: dict[str, Decision] = field(default_factory=dict)
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
        self.decisions |= other.decisions
        self.ended += other.ended
        self.targets |= other.targets
        self.unchanged |= other.unchanged
        self.reused |= other.reused
        self.busy += other.busy
        self.locked |= other.locked
        self.failed |= other.failed
