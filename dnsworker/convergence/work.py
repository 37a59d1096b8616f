"""What is to be done for one zone at one target, as it was read in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from dnsworker.errors import ServerFailure, ZoneChanged
from dnsworker.records import SOA, Key
from dnsworker.store.deliveries import DeliveryRow
from dnsworker.store.journal import Entry
from dnsworker.store.rows import ZoneRow
from dnsworker.store.withholding import Withheld
from dnsworker.tracing.notes import Leg

#: After so many ServerFailures in a row the contents are suspected, not the server.
SUSPECT_AFTER = 2


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that a turn needs, read in one snapshot."""

    zone: ZoneRow
    delivery: DeliveryRow
    entries: list[Entry]
    withheld: dict[Key, Withheld]

    @property
    def groups(self) -> list[list[Entry]]:
        """The journal since the target's last state, operation by operation."""
        return [list(group) for _, group in groupby(self.entries, key=lambda entry: entry.revision)]

    def leg(self, low: int | None = None) -> Leg:
        """What is to be done, or was; `low`: from where, if it was begun before."""
        at = self.delivery.delivered_revision
        is_whole = low in (None, at)
        ids = dict.fromkeys(entry.operation_id for entry in self.entries) if is_whole else ()
        return Leg(self.zone.id, at if low is None else low, self.zone.revision, tuple(ids))

    @property
    def current_soa(self) -> SOA:
        if self.delivery.soa is None:
            raise ZoneChanged("it is not known what the target has")
        return SOA.from_rdata(self.delivery.soa, self.zone.ttl)

    @property
    def is_suspect(self) -> bool:
        """Whether it may be the contents at which the server fails."""
        return self.delivery.last_code == ServerFailure.__name__ and self.delivery.attempts >= SUSPECT_AFTER
