"""A zone's first contents at one target: created whole, or with less where the server won't have all of it.

Separate from the turns, which are about a zone that is there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NoReturn

from dnsworker import comparison, plan, serials
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.convergence.interruptions import Again, Blocked
from dnsworker.convergence.ledger import DROPPED, Ledger
from dnsworker.convergence.sending import Sender
from dnsworker.convergence.work import Work
from dnsworker.errors import RecordRejected, ServerFailure, Unsupported, ZoneMissing
from dnsworker.records import SOA, RRset
from dnsworker.store.journal import Entry
from dnsworker.store.withholding import Withheld

log = logging.getLogger(__name__)


class Creation:
    """Works for one claim."""

    def __init__(self, backend: Backend, ledger: Ledger, sender: Sender) -> None:
        self._backend, self._ledger, self._sender = backend, ledger, sender
        self._expected = ledger.expected
        self._capabilities = backend.capabilities

    def fill(self, work: Work) -> bool:
        """Create the zone with all it should hold; with less where the server won't have that."""
        self._ledger.keep_ahead_of_seen(work)
        wanted = ZoneContents(soa=work.zone.soa, rrsets=self._expected.wanted(work), name=work.zone.name)
        is_suspect = work.is_suspect
        if not self._capabilities.creates_zones:
            self._make_room(work, wanted)
        try:
            if is_suspect:
                raise RecordRejected(work.delivery.last_error or "the server keeps failing on these contents")
            with self._ledger.writing():
                receipt = self._backend.create_zone(wanted)
            self._ledger.take_receipt(receipt)
        except (RecordRejected, Unsupported) as exc:
            log.info("%s refuses to create %s as a whole: %s", self._ledger.claim.target, work.zone.name, exc)
            return self._fill_step_by_step(work, is_suspect)
        found = self._backend.read_zone(work.zone.name)
        self._ledger.has_read = True
        if found is None:
            raise ZoneMissing(f"zone {work.zone.name} isn't there after it was created")
        dropped = self._expected.differences(
            work, comparison.side_by_side(found, wanted.rrsets), wanted.rrsets
        )
        is_early = serials.is_ahead(work.zone.serial, found.soa.serial) and not self._capabilities.sets_serial
        if dropped and is_early:  # it did nothing, or not all: that says nothing about the records
            raise ServerFailure(f"{DROPPED}: {work.zone.name} is at serial {found.soa.serial}")
        self._ledger.withhold_dropped(work, dropped)
        if found.soa.rdata != work.zone.soa.rdata and not self._capabilities.sets_serial:
            self._ledger.note(state="present", must_read=True, soa=found.soa.rdata)
            raise Again
        return self._ledger.finish(work, "present", found.soa)

    def _fill_step_by_step(self, work: Work, is_suspect: bool) -> bool:
        """An empty zone first, then operation by operation, so that only what is refused is left out."""
        apex = (work.zone.name, "NS")
        groups = self._expected.groups_since_creation(work)
        ns = next(
            (e.change.after for group in groups for e in group if e.key == apex and e.change.after), None
        )
        soa = self._lay_ground(work, [ns] if ns and self._capabilities.apex_ns else [], groups)
        self._ledger.note(state="present", soa=soa.rdata)
        remaining = [
            [entry for entry in group if entry.key != apex or entry.change.before] for group in groups
        ]
        soa = self._sender.push(work, soa, [group for group in remaining if group], is_suspect)
        return self._sender.arrive(work, soa)

    def _lay_ground(self, work: Work, rrsets: Sequence[RRset], groups: Sequence[Sequence[Entry]]) -> SOA:
        """The zone with nothing but these RRsets, and with serials left for the operations."""
        room = len(groups) + 1
        if not self._capabilities.creates_zones:
            bare = ZoneContents.of(work.zone.name, work.zone.soa, rrsets)
            found, steps = self._make_room(work, bare, more=room)
            soa = work.zone.soa.with_serial(serials.add(found.soa.serial, steps))
            changes = self._expected.differences(
                work, comparison.side_by_side(found, bare.rrsets), bare.rrsets
            )
            return self._sender.send(work, found.soa, soa, changes)
        has_room = serials.distance(groups[-1][-1].serial, work.zone.serial) > room
        if not has_room and not self._capabilities.sets_serial:
            self._ledger.lift(
                parts=room + 1
            )  # the base must be above every serial of the zone's earlier lives
        first = serials.add(work.zone.serial, -room)
        base = ZoneContents.of(work.zone.name, work.zone.soa.with_serial(first), rrsets)
        with self._ledger.writing():
            receipt = self._backend.create_zone(base)
        self._ledger.take_receipt(receipt)
        return base.soa

    def _make_room(self, work: Work, wanted: ZoneContents, *, more: int = 0) -> tuple[ZoneContents, int]:
        """What is in a zone that others add, and how many serials lead from there to `wanted`: there are as
        many, and `more`, below the zone's."""
        found = self._backend.read_zone(work.zone.name)
        if found is None:
            self.say_that_it_must_be_added(work)
        changes = found.changes_to(wanted)
        steps = plan.messages_needed(changes)
        if changes or found.soa.rdata != work.zone.soa.rdata:
            self._ledger.keep_ahead_of(work, found.soa)
            self._ledger.need_room(work, found.soa, steps + more)
        return found, steps

    def refuse(self, work: Work, found: ZoneContents, differences: int) -> NoReturn:
        message = (
            f"the target has a zone {work.zone.name} already (serial {found.soa.serial}), "
            f"and {differences} RRsets differ; submit with force=True to take it over"
        )
        groups = self._expected.groups_since_creation(work)
        creation = groups[0][0]
        row = Withheld(
            self._ledger.claim.target_id,
            (work.zone.name, "SOA"),
            creation.operation_id,
            creation.revision,
            None,
            message,
        )
        self._ledger.withhold_rows([row])
        raise Blocked("foreign", message)

    def say_that_it_must_be_added(self, work: Work) -> NoReturn:
        if work.delivery.state == "creating":  # what comes in its place may be somebody else's
            self._ledger.note(state="absent")
        raise ZoneMissing(
            f"{self._ledger.claim.target} can't add zones: add {work.zone.name} there, with nothing but "
            "SOA and NS; it is taken up with the next attempt"
        )
