"""What a request needs to be allowed, each in one word of permissions.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dnsworker.names import Name
from dnsworker.requests.questions import RecordQuery, ZoneQuery
from dnsworker.requests.request import Request
from dnsworker.requests.zones import MoveZone

#: What concerns RRsets, and can be limited to names and types.
RECORD_WORDS = ("create", "update", "put", "delete")
#: What concerns a zone as a whole: operations by their own names.
ZONE_WORDS = ("create_zone", "update_zone", "delete_zone", "import_zone", "restore_zone", "move_zone")
READ, FORCE = "read", "force"


@dataclass(frozen=True, slots=True)
class Demand:
    """One thing that a request needs to be allowed."""

    word: str
    zone: Name
    #: None: whichever pool holds the zone.
    pool: str | None = None
    #: The RRset that is concerned; None: any of the zone, of any type.
    name: Name | None = None
    type: str | None = None

    def __str__(self) -> str:
        if self.word in ZONE_WORDS:
            text = f"{self.word} {self.zone}"
        elif self.name is not None:
            text = f"{self.word} {self.type or 'all types'} at {self.name} in {self.zone}"
        elif self.type is not None:
            text = f"{self.word} all {self.type} in {self.zone}"
        else:
            text = f"{self.word} {'in ' if self.word == FORCE else ''}{self.zone}"
        return f"{text} of pool {self.pool}" if self.pool else text


def demands_of(request: Request) -> Iterator[Demand]:
    """All that an operation needs. One that changes RRsets needs each of them, and nothing else."""
    zone, pool = request.zone_name, request.pool
    for change in request.changes:
        yield Demand(change.action, zone, pool, Name(change.name), change.type)
    if request.kind in ZONE_WORDS:
        yield Demand(request.kind, zone, pool)
    if isinstance(request, MoveZone):
        yield Demand(request.kind, zone, request.to)
    if request.force:
        # What it lets pass, and what it overwrites at a target, is more than the RRsets that are named.
        yield Demand(FORCE, zone, pool)


def demand_of_question(query: ZoneQuery) -> Demand:
    """What an answer about a zone needs: to read all of it, or the RRsets that are asked for."""
    if isinstance(query, RecordQuery):
        return Demand(READ, Name(query.zone), query.pool, query.owner, query.type)
    return Demand(READ, Name(query.zone), query.pool)


def reads_of_dry_run(request: Request) -> Iterator[Demand]:
    """What a dry run of an operation shows: the RRsets that it changes as they are, or all of the zone."""
    zone, pool = request.zone_name, request.pool
    for change in request.changes:
        yield Demand(READ, zone, pool, Name(change.name), change.type)
    if request.kind in ZONE_WORDS:
        yield Demand(READ, zone, pool)
