"""What is to be sent to a target: changes of RRsets between two SOAs, ordered and cut into messages.

Pure functions of values: collapsing, ordering, splitting and guarding are decided here and tested without
any I/O; a backend only translates a `Plan`.
"""

from __future__ import annotations

from dataclasses import dataclass

from dnsworker.names import Name
from dnsworker.records import SOA, Key, RRset


@dataclass(frozen=True, slots=True)
class RRsetChange:
    """One RRset before and after; None where it doesn't exist."""

    before: RRset | None
    after: RRset | None

    @property
    def key(self) -> Key:
        """(owner name, type)."""
        rrset = self.after or self.before
        assert rrset is not None, "a change has a before or an after"
        return rrset.key


@dataclass(frozen=True, slots=True)
class Plan:
    """The way of one zone at one target from exactly `current_soa` to `desired_soa`.

    Invariants: per owner name all removals come before all additions, so a server that evaluates
    record by record (BIND, Knot) never sees CNAME beside other data; the SOA is not among `changes`;
    one key occurs once.
    """

    zone: Name
    current_soa: SOA
    desired_soa: SOA
    changes: tuple[RRsetChange, ...]
