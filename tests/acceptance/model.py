"""A zone in a dictionary: what operations must come to when they are run one by one.

Written from the documentation alone, so that it shares no mistake with the code.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from dnsworker import Client
from dnsworker.client.operation import Operation

OWNERS = tuple(f"host{number}" for number in range(12))
KINDS = ("create", "update", "put", "put", "put", "delete")


@dataclass(frozen=True)
class Step:
    """One submission on one RRset of type A."""

    kind: str
    owner: str
    address: str
    ttl: int | None

    def submit(self, client: Client, zone: str) -> Operation:
        if self.kind == "delete":
            return client.delete_record(zone, self.owner, "A", force=True)
        method = getattr(client, f"{self.kind}_record")
        operation: Operation = method(zone, self.owner, "A", [self.address], ttl=self.ttl)
        return operation


class Model:
    """What a zone with the default TTL 3600 holds."""

    def __init__(self) -> None:
        #: Owner → address and TTL.
        self.rrsets: dict[str, tuple[str, int]] = {}

    def run(self, step: Step) -> str | None:
        """The code of the refusal, None for success."""
        before = self.rrsets.get(step.owner)
        if step.kind == "create" and before:
            return "RecordExists"
        if step.kind in ("update", "delete") and not before:
            return "RecordNotFound"
        if step.kind == "delete":
            del self.rrsets[step.owner]
        else:
            kept = before[1] if before else 3600
            self.rrsets[step.owner] = (step.address, kept if step.ttl is None else step.ttl)
        return None


def steps(count: int, seed: int) -> Iterator[Step]:
    """Steps on few names, so that most meet what an earlier one did; each puts another address."""
    rng = random.Random(seed)
    for number in range(count):
        address = f"192.0.{number // 250}.{number % 250 + 1}"
        yield Step(rng.choice(KINDS), rng.choice(OWNERS), address, rng.choice((None, 60, 300)))
