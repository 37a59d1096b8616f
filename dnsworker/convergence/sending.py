"""Sending changes to one target and making sure that it has them; leaving out what it refuses.

Separate from the turns, which decide what is to be sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dnsworker import comparison, plan, serials
from dnsworker.backend import Backend, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.convergence.interruptions import Again
from dnsworker.convergence.ledger import DROPPED, Ledger
from dnsworker.convergence.work import Work
from dnsworker.errors import RecordRejected, ServerFailure, Unsupported, ZoneChanged
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset
from dnsworker.store.journal import Entry

#: How far above the serial that was read ours goes where others count, too: one that they had passed by then
#: would be ignored, and the SOA's timers with it.
LEAD = 100


class Sender:
    """Sends for one claim."""

    def __init__(self, backend: Backend, ledger: Ledger) -> None:
        self._backend, self._ledger, self._expected = backend, ledger, ledger.expected
        self._capabilities = backend.capabilities

    def push(self, work: Work, soa: SOA, groups: list[list[Entry]], is_suspect: bool) -> SOA:
        """Operations in order, all at once if the target takes them; else halved until the refused one is
        alone, which is withheld. Never splits an operation."""
        if not groups:
            return soa
        changes = self._expected.collapsed(work, groups)
        target_soa = self._soa_after(work, soa, groups)
        try:
            soa = self.send(work, soa, target_soa, changes)
        except (RecordRejected, Unsupported, ServerFailure) as exc:
            if isinstance(exc, ServerFailure) and not is_suspect:
                raise
            if len(groups) == 1:
                self._ledger.withhold(work, groups[0], exc)
                return soa
            self._ledger.need_room(work, soa, len(groups))
            middle = len(groups) // 2
            soa = self.push(work, soa, groups[:middle], is_suspect)
            return self.push(work, soa, groups[middle:], is_suspect)
        self._ledger.note_sent(soa, groups)
        return soa

    def send(self, work: Work, soa: SOA, target_soa: SOA, changes: Iterable[RRsetChange]) -> SOA:
        """Carry out the changes and make sure that the target has them; returns the SOA that it has now.

        Of a contended zone the last one known.
        """
        whole = plan.make_plan(work.zone.name, soa, target_soa, changes)
        if not whole.changes and soa.rdata == target_soa.rdata:
            return soa
        if self._ledger.is_contended:
            whole = self._beside_others(whole)
        try:
            parts = plan.split(whole, self._capabilities)
        except plan.SerialsTooClose as exc:
            self._ledger.lift(parts=exc.parts + len(work.groups))
        for index, part in enumerate(parts):
            if index:
                self._ledger.renew()
            with self._ledger.writing(is_message=True):
                receipt = self._backend.apply(part)
            self._ledger.take_receipt(receipt)
            now_there = receipt.soa
        dropped = self.not_there(whole)
        if dropped:
            self._ledger.withhold_dropped(work, dropped)
        return soa if self._ledger.is_contended else now_there

    def arrive(self, work: Work, soa: SOA) -> bool:
        """Everything was sent: the target's SOA must be the zone's. Of a contended zone a reading tells."""
        if self._ledger.is_contended:
            raise Again
        if soa.rdata != work.zone.soa.rdata and not self._capabilities.sets_serial:
            self._ledger.keep_ahead_of(work, soa)
            soa = self.send(work, soa, work.zone.soa, [])
        return self._ledger.finish(work, "present", soa)

    def _beside_others(self, planned: plan.Plan) -> plan.Plan:
        """The plan as it can be carried out while others write: from the RRsets as they are at this moment,
        which the server then requires, to a serial that the others haven't passed yet."""
        wanted = {change.key: change.after for change in planned.changes}
        found = self._backend.read_rrsets(planned.zone, wanted) if wanted else {}
        self._ledger.renew()  # who was paused until now, and replaced, must not go by what he has just read
        changes = comparison.foreign_changes(
            {key: found.get(key) for key in wanted}, wanted, planned.zone, self._capabilities
        )
        desired, least = planned.desired_soa, serials.add(planned.current_soa.serial, LEAD)
        if serials.is_ahead(least, desired.serial):
            desired = desired.with_serial(least)
            self._ledger.foresee(least)
        made = plan.make_plan(planned.zone, planned.current_soa, desired, changes)
        return replace(made, fence="rrsets")

    def not_there(self, sent: plan.Plan) -> list[RRsetChange]:
        """What the target says that it did and did not: (what it has → what it should have).

        Raises `ServerFailure` where it did nothing at all: that says nothing about the records.
        """
        if not sent.changes:
            self._raise_if_unmoved(sent, self._backend.read_soa(sent.zone))
            return []
        suspicious = [change.key for change in sent.changes]
        shown: Mapping[Key, RRset] | None = None
        if self._capabilities.reads_changes:
            told = self._backend.read_back(sent.zone, sent.current_soa)
            if told is not None:
                self._raise_if_unmoved(sent, told.soa)
                if sent.fence == "soa":
                    self._raise_if_others_wrote(sent, told)
            if isinstance(told, ZoneDelta):
                suspicious = comparison.not_as_planned(sent.changes, told)
            elif told is not None:
                shown = told.rrsets
        if not suspicious or not self._capabilities.reads_back:
            return []
        found = self._backend.read_rrsets(sent.zone, suspicious) if shown is None else shown
        wanted = {change.key: change.after for change in sent.changes}
        actual = {key: found.get(key) for key in suspicious}
        missing = comparison.foreign_changes(actual, wanted, sent.zone, self._capabilities)
        if missing and not self._capabilities.reads_changes:
            self._raise_if_unmoved(sent, self._backend.read_soa(sent.zone))
        if sent.fence == "rrsets":
            # Ignored by the server it is as before; anything else is what somebody has made of it since.
            before = {change.key: change.before for change in sent.changes}
            for change in missing:
                if not comparison.is_same(change.before, before[change.key]):
                    raise ZoneChanged(f"somebody else changed {change.key[0]} {change.key[1]} right after us")
        return missing

    def _raise_if_unmoved(self, sent: plan.Plan, soa: SOA | None) -> None:
        if soa is None or self._capabilities.sets_serial or sent.current_soa == sent.desired_soa:
            return
        if soa.rdata == sent.current_soa.rdata:
            raise ServerFailure(f"{DROPPED}: {sent.zone} is still at serial {soa.serial}")

    def _raise_if_others_wrote(self, sent: plan.Plan, told: ZoneDelta | ZoneContents) -> None:
        """After an update that required the SOA: what came since, or along with it, is somebody else's."""
        if not self._is_ours(told.soa.serial, sent.desired_soa.serial):
            raise ZoneChanged(f"somebody else moved the serial on to {told.soa.serial}")
        if not isinstance(told, ZoneDelta):
            return
        # knotd makes updates that wait together one change with one serial (3.2.6, 2026-11-25): somebody's
        # before ours doesn't trip our fence then, and no later serial tells of it.
        if strange := self._expected.ours(sent.zone, told.keys - {change.key for change in sent.changes}):
            name, type_ = min(strange)
            raise ZoneChanged(f"somebody else changed {name} {type_} under the serial that we wrote")

    def _is_ours(self, serial: int, sent: int) -> bool:
        """Whether the target is where it was sent, or where its signer has gone from there by itself."""
        if serial == sent or self._capabilities.sets_serial:
            return True
        return self._capabilities.signer_counts and serials.is_ahead(serial, sent)

    def _soa_after(self, work: Work, soa: SOA, groups: Sequence[Sequence[Entry]]) -> SOA:
        """The SOA that says "up to here": the last operation's serial, where that is ahead."""
        last = groups[-1][-1]
        if last.revision == work.entries[-1].revision:
            self._ledger.keep_ahead_of(work, soa)
            return work.zone.soa
        is_free = serials.is_ahead(last.serial, soa.serial) and last.serial != work.zone.serial
        return work.zone.soa.with_serial(last.serial if is_free else serials.add(soa.serial, 1))
