"""One claimed delivery brought to its goal: what to ask the target, what to send, when to stop.

                      never / absent ──read──► nothing there ──► creating ──► present
                                     └──────► somebody's zone ──► foreign (or adopted, if equal)
    present ──changes since delivered_revision──► plan ──► apply ──► read back ──► present
       └──the server disagrees──► read what it has ──► repair, or stop: ahead | held

No transaction is open during a network call, and every write names the claim's epoch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from dnsworker import comparison, plan, serials
from dnsworker.backend import Backend, ZoneDelta, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.convergence import doubt
from dnsworker.convergence.creation import Creation
from dnsworker.convergence.interruptions import Again, Blocked
from dnsworker.convergence.ledger import REPAIRED, Ledger
from dnsworker.convergence.look import tells_by_serial
from dnsworker.convergence.sending import Sender
from dnsworker.convergence.work import Work
from dnsworker.errors import (
    Behind,
    OutcomeUnknown,
    Permanent,
    RecordRejected,
    ServerFailure,
    UnsafeChange,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA
from dnsworker.settings import Settings
from dnsworker.store import journal, zones
from dnsworker.store.claims import Claim
from dnsworker.store.deliveries import AWAY, THERE
from dnsworker.store.journal import Entry
from dnsworker.store.pools import KnownPool
from dnsworker.tracing.notes import Leg

log = logging.getLogger(__name__)

#: A delivery that needs more turns than this gives its place up and comes again.
MAX_ROUNDS = 12


class Convergence:
    """Works for one claim. `run` returns when the target has what is wanted, or raises why not."""

    def __init__(
        self, engine: sa.Engine, known: KnownPool, claim: Claim, backend: Backend, settings: Settings
    ) -> None:
        self._settings, self._pool = settings, known.pool
        self._backend, self._capabilities = backend, backend.capabilities
        kind = load_backend(known.pool.target(claim.target).type)
        self._ledger = Ledger(
            engine, known, claim, settings, self._capabilities,
            tells_by_serial=tells_by_serial(kind, self._capabilities),
        )  # fmt: skip
        self._expected = self._ledger.expected
        self._sender = Sender(backend, self._ledger)
        self._creation = Creation(backend, self._ledger, self._sender)
        backend.checkpoint, backend.renew = self._ledger.keep, self._ledger.hold

    def run(self) -> None:
        """Raises `BackendError` (`Blocked` where an operator must decide) or `ClaimLost`."""
        surprises = 0
        has_progressed = False
        for _ in range(MAX_ROUNDS):
            work = self._ledger.read()
            self._ledger.is_contended = self._is_contended(work, surprises)
            try:
                if self._turn(work):
                    return
                has_progressed = True  # and more was wanted in the meantime
            except Again:
                continue
            except ZoneMissing:
                if work.delivery.state not in THERE or surprises > 1:
                    raise
                surprises += 1
                log.warning("zone %s is gone from %s", work.zone.name, self._ledger.claim.target)
                self._ledger.hasten_looks()
                if self._is_only_reported(work):
                    if self._leave(work):
                        return
                    continue
                repair = {"last_repair": "the zone was gone; created again", **REPAIRED}
                self._ledger.note(
                    state="absent", soa=None, drift=None,
                    **(repair if self._capabilities.creates_zones else {}),
                )  # fmt: skip
            except (ZoneChanged, OutcomeUnknown) as exc:
                if work.delivery.state == "creating" or surprises > 1:
                    raise
                surprises += 1
                log.info(
                    "zone %s at %s: %s: %s; looking what is there",
                    work.zone.name, self._ledger.claim.target, exc.code, exc,
                )  # fmt: skip
                self._ledger.note(must_read=True)
        if has_progressed:
            self._ledger.yield_place()
            return
        raise ZoneChanged(f"the zone kept changing at {self._ledger.claim.target} while it was delivered")

    @property
    def has_written(self) -> bool:
        """Whether the target may have something that isn't noted: it is to be read before the next write."""
        return self._ledger.has_written

    @property
    def repairs(self) -> int:
        """How often was put right what somebody else had changed there."""
        return self._ledger.repairs

    @property
    def legs(self) -> list[Leg]:
        """From where to where it went, or meant to go."""
        if self._ledger.works is None:
            return []
        first, last = self._ledger.works
        return [last.leg(first.delivery.delivered_revision)]

    # --- turns ---------------------------------------------------------------------------------------

    def _turn(self, work: Work) -> bool:
        state, goal = work.delivery.state, work.delivery.goal
        if goal == "absent":
            return self._remove(work)
        if self._capabilities.pull:
            return self._have_it_fetched(work)
        if work.delivery.unconfirmed:
            work = self._follow(work, work.delivery.unconfirmed)
        if state in AWAY:
            return self._begin(work)
        if state == "creating":
            return self._creation.fill(work)
        if work.delivery.must_read or work.delivery.soa is None or self._ledger.is_contended:
            return self._reconcile(work)
        return self._push_changes(work)

    def _remove(self, work: Work) -> bool:
        """The goal was read a moment ago; a new zone of the same name has a goal of its own."""
        state = work.delivery.state
        is_doubtful = state in ("absent", "emptied") and work.delivery.must_read  # somebody may be late
        if state in AWAY and not is_doubtful:
            return self._ledger.finish(work, state, None)
        if doubt.is_in_doubt(work):
            doubt.raise_if_alive(work, self._backend.read_zone(work.zone.name))
        if work.zone.leaves_by is not None:
            doubt.raise_if_it_is_the_other_pools(self._ledger, work, self._backend)
        if not self._capabilities.sets_serial:
            self._note_what_it_shows(work)
        with self._ledger.writing():
            self._backend.delete_zone(work.zone.name)
        return self._ledger.finish(work, "absent" if self._capabilities.creates_zones else "emptied", None)

    def _note_what_it_shows(self, work: Work) -> None:
        """Somebody may have raised the serial there unseen: a zone that is made anew must be above."""
        try:
            soa = self._backend.read_soa(work.zone.name)
        except (ServerFailure, Permanent) as exc:  # it shows nothing to us, and is to go all the same
            log.info("zone %s at %s: %s", work.zone.name, self._ledger.claim.target, exc)
            return
        if soa is not None and serials.is_ahead(soa.serial, work.zone.serial):
            self._ledger.foresee(soa.serial)

    def _begin(self, work: Work) -> bool:
        """The target never had our zone: make sure that it has nobody else's."""
        found = self._read_zone(work.zone.name)
        creates_zones = self._capabilities.creates_zones
        if found is None and not creates_zones:
            self._creation.say_that_it_must_be_added(work)
        if found is None or (found.is_bare and not creates_zones):
            self._ledger.note(state="creating")
            return self._creation.fill(work)
        wanted = self._expected.wanted(work)
        differences = self._expected.differences(work, comparison.side_by_side(found, wanted), wanted)
        if differences and not work.delivery.force:
            self._creation.refuse(work, found, len(differences))
        return self._bring(work, found.soa, differences, [])

    def _push_changes(self, work: Work) -> bool:
        """The usual case: what the journal has since the target's last state."""
        soa = self._sender.push(work, work.current_soa, work.groups, is_suspect=False)
        return self._sender.arrive(work, soa)

    def _have_it_fetched(self, work: Work) -> bool:
        """A target that transfers from a primary: all that can be done is to have it look there.

        Raises `Behind` while the primary hasn't got it either; the primary's own delivery hastens this one.
        """
        is_new = work.delivery.state != "present"
        if not (is_new or work.delivery.must_read):
            changes = self._expected.collapsed(work, work.groups)
            soa = work.zone.soa
            with self._ledger.writing(is_message=True):
                self._backend.apply(plan.make_plan(work.zone.name, work.current_soa, soa, changes))
            return self._ledger.finish(work, "present", soa)
        wanted = ZoneContents(soa=work.zone.soa, rrsets=self._expected.wanted(work), name=work.zone.name)
        if is_new:
            self._ledger.note(state="creating")
            with self._ledger.writing():
                self._backend.create_zone(wanted)
        found = self._read_zone(wanted.name)
        if found is None:
            raise ZoneMissing(f"zone {wanted.name} isn't there")
        wrong = self._expected.differences(work, comparison.side_by_side(found, wanted.rrsets), wanted.rrsets)
        if not wrong and found.soa.rdata == wanted.soa.rdata:
            return self._ledger.finish(work, "present", wanted.soa)
        # With the wanted SOA it would not look again by itself: from that SOA to itself means "all of it".
        start = wanted.soa if found.soa.rdata == wanted.soa.rdata else found.soa
        with self._ledger.writing(is_message=True):
            self._backend.apply(plan.make_plan(wanted.name, start, wanted.soa, wrong))
        if start is not wanted.soa:
            return self._ledger.finish(work, "present", wanted.soa)
        found = self._backend.read_zone(wanted.name) or found
        wrong = self._expected.differences(work, comparison.side_by_side(found, wanted.rrsets), wanted.rrsets)
        if wrong:
            raise Behind(
                f"{len(wrong)} RRsets of {wanted.name} differ from what is wanted, at the wanted serial: "
                "look at its primary"
            )
        self._ledger.note(last_repair=f"fetched {wanted.name} from its primary again", **REPAIRED)
        return self._ledger.finish(work, "present", wanted.soa)

    def _follow(self, work: Work, unconfirmed: Sequence[Any]) -> Work:
        """Ask the provider which of its changes have reached all its servers by now."""
        left = list(unconfirmed)
        while left and self._backend.has_arrived(work.zone.name, left[0][0]):
            left.pop(0)
        self._ledger.note_spreading(left or None)
        return replace(work, delivery=replace(work.delivery, unconfirmed=left or None))

    def _is_only_reported(self, work: Work) -> bool:
        is_asked = work.delivery.force or work.entries
        return self._pool.on_drift == "report" and not is_asked

    def _leave(self, work: Work) -> bool:
        """Somebody removed the zone, which is only to be told."""
        self._ledger.note(drift="the zone is gone")
        return self._ledger.finish(work, "present", work.current_soa)

    def _reconcile(self, work: Work) -> bool:
        """The target is not as we believe, or we don't know: ask it, then bring it home from there."""
        delta = self._changes_at_target(work)
        if delta is not None:
            actual = self._expected.believed(work)
            touched = delta.keys | set(actual)
            wanted = self._expected.wanted(work, touched)
            believed = {key: actual.get(key, wanted.get(key)) for key in touched}
            found = {key: comparison.rrset_after(key, believed[key], delta) for key in touched}
            differences = self._expected.differences(work, found, wanted)
            if self._may_be_our_lost_work(work, delta.soa):
                self._stop_if_ahead(work, delta.soa, differences)
            return self._bring(work, delta.soa, differences, work.entries)
        wanted = self._expected.wanted(work)
        contents = self._read_zone(work.zone.name)
        if contents is None:
            doubt.raise_if_gone_meanwhile(work)
            raise ZoneMissing(f"the server has no zone {work.zone.name}")
        differences = self._expected.differences(work, comparison.side_by_side(contents, wanted), wanted)
        doubt.raise_if_newer(self._ledger, work, contents, differences, repairs=self._means_to_repair(work))
        if doubt.is_in_doubt(work):  # no longer: part of what follows may be all that is done now
            self._ledger.note(soa=contents.soa.rdata)
        self._stop_if_ahead(work, contents.soa, differences)
        return self._bring(work, contents.soa, differences, work.entries)

    def _may_be_our_lost_work(self, work: Work, soa: SOA) -> bool:
        """Whether what the target tells of may be what a later database had us do there."""
        others_count = self._ledger.is_contended or self._capabilities.signer_counts or self._pool.is_shared
        moment = int(time.time())
        return not others_count and serials.may_be_a_lost_one(soa.serial, work.zone.serial, unix_time=moment)

    def _stop_if_ahead(self, work: Work, soa: SOA, differences: Sequence[RRsetChange]) -> None:
        """A serial ahead of ours with contents that nothing explains: ours may be the side that is old."""
        asked = {entry.key for entry in work.entries}
        unasked = [change for change in differences if change.key not in asked]
        is_ahead = serials.is_ahead(soa.serial, work.zone.serial)
        means_to_overwrite = unasked and self._means_to_repair(work) and not self._capabilities.sets_serial
        if is_ahead and means_to_overwrite and not work.delivery.force:
            raise Blocked(
                "ahead",
                f"serial {soa.serial} at the target is ahead of ours ({work.zone.serial}) and "
                f"{len(unasked)} RRsets differ; nothing more is written there until `dnsworker zone sync` "
                "says with --keep which side is right, or a change is submitted with force=True",
            )

    def _bring(
        self, work: Work, soa: SOA, differences: Sequence[RRsetChange], entries: Sequence[Entry]
    ) -> bool:
        """From what the target was found to have to what it should have."""
        asked = {entry.key for entry in entries}
        drift = [change for change in differences if change.key not in asked]
        if drift and (not self._means_to_repair(work) or self._ledger.defers_repairs(work)):
            differences = [change for change in differences if change.key in asked]
            said = f"{len(drift)} RRsets differ: {_listed(drift)}"
            self._ledger.note(drift=None if self._pool.on_drift == "ignore" else said)
            drift = []
        elif work.delivery.drift is not None:
            self._ledger.note(drift=None)
        self._guard(work, drift)
        if not differences and self._ledger.is_arrived(work, soa):
            return self._ledger.finish(work, "present", soa)
        self._ledger.keep_ahead_of(work, soa)
        if drift:
            repair = f"repaired {len(drift)} RRsets that somebody else had changed: {_listed(drift)}"
            log.warning("zone %s at %s: %s", work.zone.name, self._ledger.claim.target, repair)
            self._ledger.note(last_repair=repair, **REPAIRED)
        is_suspect = bool(entries) and work.is_suspect
        try:
            if is_suspect:
                raise RecordRejected(work.delivery.last_error)
            soa = self._sender.send(work, soa, work.zone.soa, differences)
        except (RecordRejected, Unsupported):
            soa = self._send_drift_first(work, soa, drift)
            soa = self._sender.push(work, soa, work.groups, is_suspect)
        return self._sender.arrive(work, soa)

    def _means_to_repair(self, work: Work) -> bool:
        return self._pool.on_drift == "repair" or work.delivery.force

    def _send_drift_first(self, work: Work, soa: SOA, drift: Sequence[RRsetChange]) -> SOA:
        """Some operation's records are refused: keep them apart from the repair.

        Without drift this is a plan of nothing but the SOA, and so the probe that tells a server that fails
        from one that won't have these contents.
        """
        self._ledger.need_room(work, soa, len(work.groups) + 2)
        try:
            soa = self._sender.send(work, soa, work.zone.soa.with_serial(serials.add(soa.serial, 1)), drift)
        except (RecordRejected, Unsupported):
            if not drift:
                raise
            soa = self._send_drift_piecemeal(work, soa, drift)
        if not self._ledger.is_contended:
            self._ledger.note(state="present", soa=soa.rdata, must_read=False)
        return soa

    def _send_drift_piecemeal(self, work: Work, soa: SOA, drift: Sequence[RRsetChange]) -> SOA:
        """Repair what the target lets us; an RRset that it won't take back is withheld, the rest goes on."""
        self._ledger.need_room(work, soa, len(work.groups) + len(drift) + 2)
        with self._ledger.reading.connect() as connection:
            makers = journal.last_entries(connection, work.zone.id, [change.key for change in drift])
        for change in drift:
            self._ledger.renew()
            step = work.zone.soa.with_serial(serials.add(soa.serial, 1))
            try:
                soa = self._sender.send(work, soa, step, [change])
            except (RecordRejected, Unsupported) as exc:
                maker = makers.get(change.key)
                if maker is None:
                    raise Blocked("held", f"the target refuses its own repair: {exc}") from exc
                refused = replace(maker, change=RRsetChange(change.before, maker.change.after))
                self._ledger.withhold(work, [refused], exc, is_delivered=False)
        return soa

    def _is_contended(self, work: Work, surprises: int) -> bool:
        """Whether others have moved the zone on again and again while we read and wrote.

        A moment in which they don't may never come. So each RRset is required to be as it was read, instead
        of the SOA, and then the zone is read again, until nothing is left to do.
        """
        keeps_moving = surprises > 1 or work.delivery.last_code == ZoneChanged.__name__
        return self._capabilities.fences_rrsets and work.delivery.state == "present" and keeps_moving

    # --- stops ---------------------------------------------------------------------------------------

    def _guard(self, work: Work, drift: Sequence[RRsetChange]) -> None:
        """A comparison must not empty a server because our own side is the one that is wrong."""
        if work.delivery.force:
            return
        removals = [change for change in drift if change.key != (work.zone.name, "NS")]
        share, minimum = self._settings.guard_share, self._settings.guard_minimum
        removed = sum(change.is_removal for change in removals)
        existing = 0
        if enough := plan.enough_to_be_safe(removed, share, minimum):
            with self._ledger.reading.connect() as connection:
                existing = zones.count_rrsets(connection, work.zone.id, enough) + removed
        try:
            plan.raise_if_unsafe(
                removals, existing=existing, share=share, minimum=minimum, zone=work.zone.name
            )  # fmt: skip
        except UnsafeChange as exc:
            raise Blocked(
                "held", f"a repair of what somebody else changed there is held back: {exc.message}"
            ) from exc

    def _read_zone(self, zone: Name) -> ZoneContents | None:
        contents = self._backend.read_zone(zone)
        self._ledger.has_read = True
        return contents

    def _changes_at_target(self, work: Work) -> ZoneDelta | None:
        """None: all of it has to be read."""
        if not self._capabilities.reads_changes or work.delivery.soa is None:
            return None
        delta = self._backend.read_changes(work.zone.name, work.current_soa)
        has_moved = delta is not None and delta.soa.rdata != work.delivery.soa
        # A serial that hasn't moved tells nothing of what was changed without one.
        return delta if has_moved or not self._ledger.is_unread(work) else None


def _listed(changes: Sequence[RRsetChange]) -> str:
    """The first few, for people."""
    return ", ".join(f"{name} {type_}" for name, type_ in [change.key for change in changes][:5])
