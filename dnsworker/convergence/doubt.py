"""What a target has, against a database that may be the older one of the two: then the target wins.

Separate from the turns, which take the database's side. In doubt is a delivery of a zone that should be there
without a SOA that was seen there (`store.lineage.doubt_everything`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from dnsworker.backend import Backend
from dnsworker.comparison import Records, is_same, records_of
from dnsworker.contents import ZoneContents
from dnsworker.convergence.interruptions import Blocked
from dnsworker.convergence.ledger import Ledger
from dnsworker.convergence.work import Work
from dnsworker.plan import RRsetChange
from dnsworker.records import Key
from dnsworker.serials import is_ahead
from dnsworker.store import moves
from dnsworker.store.deliveries import THERE

RESTORED = "the database may have been restored from a backup"
UNTIL_FORCED = (
    "nothing more is written there until `dnsworker zone sync` says with --keep which side is right, "
    "or a change is submitted with force=True"
)
UNTIL_RETRIED = "it stays there until the deletion is tried again by an operator (operation retry)"


def is_in_doubt(work: Work) -> bool:
    is_there = work.delivery.state in THERE
    return is_there and work.delivery.soa is None and not work.delivery.force


def raise_if_gone_meanwhile(work: Work) -> None:
    """Of a zone that the target hasn't got: somebody may have deleted it since."""
    if is_in_doubt(work) and work.delivery.delivered_revision:
        raise Blocked(
            "ahead", f"the target has no zone {work.zone.name} any more; {RESTORED}; {UNTIL_FORCED}"
        )


def raise_if_newer(
    ledger: Ledger, work: Work, found: ZoneContents, differences: Sequence[RRsetChange], *, repairs: bool
) -> None:
    """Where the target has something that our journal doesn't know, it is not we who are right.

    It may be where we believe it to be, or on the way from there to what is wanted. Where drift stays in any
    case (`repairs` is off), only what would be overwritten counts.
    """
    if not is_in_doubt(work):
        return
    believed, known = ledger.expected.believed(work), _known(work)
    is_on_the_way = found.soa.serial in {entry.serial for entry in work.entries} | {work.zone.serial}
    strange = [
        change.key
        for change in differences
        if (repairs or change.key in believed)
        and not (change.key in believed and is_same(change.before, believed[change.key]))
        and not (is_on_the_way and records_of(change.before) in known[change.key])
    ]
    if strange:
        name, type_ = min(strange)
        raise Blocked(
            "ahead",
            f"{len(strange)} RRsets at the target (serial {found.soa.serial}) are as our journal never had "
            f"them, {name} {type_} among them; {RESTORED}; {UNTIL_FORCED}",
        )


def raise_if_alive(work: Work, found: ZoneContents | None) -> None:
    """Of a zone that is to be removed: it must not be one that was created since."""
    if is_in_doubt(work) and found is not None:
        raise Blocked(
            "ahead",
            f"the target has a zone {work.zone.name} (serial {found.soa.serial}), which is deleted here; "
            f"{RESTORED}; {UNTIL_RETRIED}",
        )


def raise_if_it_is_the_other_pools(ledger: Ledger, work: Work, backend: Backend) -> None:
    """Of a zone that was moved to another pool: that may have this very server, by another name."""
    if backend.capabilities.sets_serial or backend.capabilities.signer_counts:
        return  # its serial tells nothing
    assert work.zone.leaves_by is not None
    with ledger.reading.connect() as connection:
        move = moves.get(connection, work.zone.leaves_by)
    soa = backend.read_soa(work.zone.name)
    if soa is not None and move.left_serial is not None and is_ahead(soa.serial, move.left_serial):
        raise Blocked(
            "held",
            f"the target has {work.zone.name} at serial {soa.serial}, later than any that pool {move.source} "
            f"gave it: it seems to be a server of pool {move.destination}, too, and keeps the zone. Take the "
            f"target out of pool {move.source}, or remove the zone there yourself and retry the operation",
        )


def _known(work: Work) -> dict[Key, list[Records]]:
    """What each RRset was on its way."""
    values: dict[Key, list[Records]] = defaultdict(list)
    for entry in work.entries:
        values[entry.key] += [records_of(entry.change.before), records_of(entry.change.after)]
    return values
