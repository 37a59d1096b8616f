"""What a worker notes of its work, for the spans of the operations concerned. Times are ns since 1970."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dnsworker.intake import Decision
from dnsworker.operations import Outcome


@dataclass(frozen=True, slots=True)
class Intake:
    """A transaction of the intake, and what it has decided."""

    begun_ns: int
    ended_ns: int
    decisions: Mapping[str, Decision]
    #: Those that a message brought just now.
    by_message: Collection[str]

    @property
    def operation_ids(self) -> Collection[str]:
        return self.decisions


@dataclass(frozen=True, slots=True)
class Leg:
    """A zone that was brought from one revision to another at a target."""

    zone_id: int
    low: int
    high: int
    #: What led there, where it is known without asking.
    operations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delivery:
    begun_ns: int
    ended_ns: int
    target: str
    legs: Sequence[Leg]
    #: Why it broke off; None: it came to its goal.
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """A nameserver that was found to show operations for the first time."""

    begun_ns: int
    ended_ns: int
    nameserver: str
    zone: str
    operation_ids: Sequence[str]
    #: So many looks it took since the last delivery.
    looks: int


@dataclass(frozen=True, slots=True)
class End:
    outcomes: Sequence[Outcome]

    @property
    def operation_ids(self) -> Collection[str]:
        return [one.id for one in self.outcomes]


Note = Intake | Delivery | Verification | End
