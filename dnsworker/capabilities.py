"""What a backend declares that it can do.

Separate from the contract, because planning needs it and knows no backend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do. Planning, intake and the documentation's table read it."""

    #: Record types that the target can hold; None: every type, RFC 3597 included.
    types: frozenset[str] | None = None
    #: `message`: all changes of one `apply` take effect together or not at all; `rrset`: each for itself.
    atomic: Literal["message", "rrset"] = "message"
    #: RRset changes in one `apply` at most; None: no limit of its own.
    max_batch: int | None = None
    #: Bytes of rdata, owner names and headers in one `apply` at most (uncompressed wire format).
    max_message_bytes: int | None = None
    #: Records in one `apply` at most, those that it removes and those that it adds; None: no limit.
    max_records: int | None = None
    #: Characters of their data in one `apply` at most, counted alike (presentation format).
    max_characters: int | None = None
    #: `create_zone` and `delete_zone` work; else others add the zone, empty, `create_zone` fills it and
    #: `delete_zone` empties it.
    creates_zones: bool = True
    #: A new zone is not visible before it is complete.
    hides_new_zones: bool = False
    #: `read_zone` gives the contents.
    reads_back: bool = True
    #: `read_changes` gives what changed since a serial (IXFR).
    reads_changes: bool = False
    #: `server`: an `apply` whose `current_soa` isn't the server's is refused by the server (`ZoneChanged`);
    #: `none`: the last writer wins.
    fencing: Literal["server", "none"] = "none"
    #: How many plans, of as many zones, `apply_together` has under way at once; 1: one after the other.
    pipelined: int = 1
    #: How many new zones one delivery may create in a row, because each takes only milliseconds; 1: each is a
    #: delivery of its own.
    creates_together: int = 1
    #: An `apply` can be fenced by the RRsets that it changes instead (`Plan.fence`), while others write, too.
    fences_rrsets: bool = False
    #: The provider sets the serial; ours is not kept.
    sets_serial: bool = False
    #: The apex NS at the target are the zone's; else the provider's own, invisible to plans and comparisons.
    apex_ns: bool = True
    #: Who signs (design, "The backend contract"): records of the signer are invisible to plans.
    signs: Literal["no", "dynamic", "inline", "hidden"] = "no"
    #: The target transfers from a primary; `apply` is a NOTIFY.
    pull: bool = False
    #: `notify` works: on an operator's word, beside what the server tells its secondaries by itself.
    notifies: bool = False
    #: Zones that one target can hold, and RRsets in one zone; None: no limit of its own.
    max_zones: int | None = None
    max_rrsets: int | None = None

    @property
    def signer_counts(self) -> bool:
        """Whether the target's signer raises the serial by itself, beyond what is written there."""
        return self.signs in ("dynamic", "inline")
