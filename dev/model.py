"""A zone in a dictionary: what operations must come to when they are run one by one.

Written from the documentation alone, so that it shares no mistake with the code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dnsworker import Change, Client
from dnsworker.client.operation import Operation

OWNERS = tuple(f"host{number}" for number in range(12))
KINDS = ("create", "update", "put", "put", "put", "delete")
DEFAULT_TTL = 3600
EMAIL = "hostmaster@example.org"

#: Owner → address and TTL.
RRsets = dict[str, tuple[str, int]]


class Submission(Protocol):
    """What a client submits; the same `operation_id` makes it the same operation."""

    @property
    def kind(self) -> str: ...
    def submit(self, client: Client, zone: str, operation_id: str | None = None) -> Operation: ...


@dataclass(frozen=True)
class Step:
    """One submission on one RRset of type A."""

    kind: str
    owner: str
    address: str
    ttl: int | None
    force: bool = False

    def submit(self, client: Client, zone: str, operation_id: str | None = None) -> Operation:
        if self.kind == "delete":
            return client.delete_record(zone, self.owner, "A", operation_id=operation_id)
        method = getattr(client, f"{self.kind}_record")
        operation: Operation = method(
            zone, self.owner, "A", [self.address], ttl=self.ttl, force=self.force, operation_id=operation_id
        )
        return operation

    @property
    def change(self) -> Change:
        if self.kind == "delete":
            return Change.delete(self.owner, "A")
        return Change(self.kind, self.owner, "A", (self.address,), self.ttl)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Batch:
    """Several steps, each on another owner, all or nothing."""

    steps: tuple[Step, ...]
    kind: str = "change_zone"

    def submit(self, client: Client, zone: str, operation_id: str | None = None) -> Operation:
        return client.change_zone(zone, [step.change for step in self.steps], operation_id=operation_id)


@dataclass(frozen=True)
class Creation:
    """Of the zone, with the default TTL 3600."""

    force: bool = False
    kind: str = "create_zone"

    def submit(self, client: Client, zone: str, operation_id: str | None = None) -> Operation:
        return client.create_zone(
            zone, email=EMAIL, ttl=DEFAULT_TTL, force=self.force, operation_id=operation_id
        )


@dataclass(frozen=True)
class Import:
    """All RRsets of the zone in a file, which says nothing of its NS: owner, address and TTL of each."""

    rrsets: tuple[tuple[str, str, int], ...]
    kind: str = "import_zone"

    def submit(self, client: Client, zone: str, operation_id: str | None = None) -> Operation:
        soa = f"@ {DEFAULT_TTL} IN SOA ns.{zone} hostmaster.example.org. 1 3600 600 604800 300"
        lines = [f"{owner} {ttl} IN A {address}" for owner, address, ttl in self.rrsets]
        return client.import_zone(zone, text="\n".join([soa, *lines, ""]), operation_id=operation_id)


@dataclass(frozen=True)
class Deletion:
    """Of the zone."""

    kind: str = "delete_zone"

    def submit(self, client: Client, zone: str, operation_id: str | None = None) -> Operation:
        return client.delete_zone(zone, operation_id=operation_id)


@dataclass(frozen=True)
class NewTTL:
    """For the zone's SOA and the RRsets that are created later."""

    ttl: int
    kind: str = "update_zone"

    def submit(self, client: Client, zone: str, operation_id: str | None = None) -> Operation:
        return client.update_zone(zone, ttl=self.ttl, operation_id=operation_id)


class Model:
    """What a zone holds that was created with the default TTL 3600."""

    def __init__(self, *, exists: bool = True) -> None:
        self.exists, self.ttl = exists, DEFAULT_TTL
        self.rrsets: RRsets = {}

    def run(self, submission: Submission) -> str | None:
        """The code of the refusal, None for success."""
        if isinstance(submission, Creation):
            if self.exists:
                return "ZoneExists"
            self.exists, self.ttl = True, DEFAULT_TTL
            return None
        if isinstance(submission, Import):
            if not self.exists:
                self.exists, self.ttl = True, DEFAULT_TTL
            self.rrsets = {owner: (address, ttl) for owner, address, ttl in submission.rrsets}
            return None
        if not self.exists:
            return "ZoneNotFound"
        if isinstance(submission, Deletion):
            self.exists, self.rrsets = False, {}
            return None
        if isinstance(submission, NewTTL):
            self.ttl = submission.ttl
            return None
        steps = submission.steps if isinstance(submission, Batch) else (submission,)
        after = dict(self.rrsets)
        for step in steps:
            assert isinstance(step, Step)
            if refusal := _apply(step, after, self.ttl):
                return refusal
        self.rrsets = after
        return None


def _apply(step: Step, rrsets: RRsets, default_ttl: int) -> str | None:
    before = rrsets.get(step.owner)
    if step.kind == "create" and before:
        return "RecordExists"
    if step.kind in ("update", "delete") and not before:
        return "RecordNotFound"
    if step.kind == "delete":
        del rrsets[step.owner]
    else:
        kept = before[1] if before else default_ttl
        rrsets[step.owner] = (step.address, kept if step.ttl is None else step.ttl)
    return None


def steps(count: int, seed: int) -> Iterator[Step]:
    """Steps on few names, so that most meet what an earlier one did; each puts another address."""
    rng = random.Random(seed)
    for number in range(count):
        yield step(rng, number)


def step(rng: random.Random, number: int, owners: Sequence[str] = OWNERS) -> Step:
    return Step(rng.choice(KINDS), rng.choice(owners), address_of(number), rng.choice((None, 60, 300)))


def address_of(number: int) -> str:
    """62,500 of them differ."""
    return f"192.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"
