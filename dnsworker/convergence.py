"""One claimed delivery brought to its goal: what to ask the target, what to send, what to write down.

                      never / absent ──read──► nothing there ──► creating ──► present
                                     └──────► somebody's zone ──► foreign (or adopted, if equal)
    present ──changes since delivered_revision──► plan ──► apply ──► read back ──► present
       └──the server disagrees──► read what it has ──► repair, or stop: ahead | held

No transaction is open during a network call, and every write names the claim's epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import NoReturn

import sqlalchemy as sa

from dnsworker import comparison, desired, plan, serials
from dnsworker.backend import Backend, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.database import reading
from dnsworker.errors import (
    OutcomeUnknown,
    Permanent,
    RecordRejected,
    ServerFailure,
    UnsafeChange,
    Unsupported,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.plan import RRsetChange
from dnsworker.records import SOA, Key, RRset
from dnsworker.settings import Settings
from dnsworker.store import deliveries, journal, zones
from dnsworker.store.deliveries import Claim, DeliveryRow, Withheld
from dnsworker.store.journal import Entry
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.tables import now

log = logging.getLogger(__name__)

#: A delivery that needs more turns than this gives its place up and comes again.
MAX_ROUNDS = 12
#: After so many ServerFailures in a row the contents are suspected, not the server.
SUSPECT_AFTER = 2
MESSAGE_LENGTH = 2000
DROPPED = "the server accepted the change and doesn't have it"


class Blocked(Permanent):
    """Nothing more is written to this zone at this target until an operator has decided."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state = state

    @property
    def code(self) -> str:
        return {"foreign": "ZoneExists", "ahead": "Ahead", "held": "UnsafeChange"}[self.state]


class _Again(Exception):
    """Something moved: read the rows again and go on from there."""


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

    @property
    def current_soa(self) -> SOA:
        if self.delivery.soa is None:
            raise ZoneChanged("it is not known what the target has")
        return SOA.from_rdata(self.delivery.soa, self.zone.ttl)


class Convergence:
    """Works for one claim. `run` returns when the target has what is wanted, or raises why not."""

    def __init__(
        self, engine: sa.Engine, known: KnownPool, claim: Claim, backend: Backend, settings: Settings
    ) -> None:
        self._engine, self._reading = engine, reading(engine)
        self._known, self._claim = known, claim
        self._backend, self._settings = backend, settings
        self._capabilities = backend.capabilities
        backend.checkpoint = self._renew

    def run(self) -> None:
        """Raises `BackendError` (`Blocked` where an operator must decide) or `ClaimLost`."""
        surprises = 0
        has_progressed = False
        for _ in range(MAX_ROUNDS):
            work = self._read()
            try:
                if self._turn(work):
                    return
                has_progressed = True  # and more was wanted in the meantime
            except _Again:
                continue
            except ZoneMissing:
                if work.delivery.state != "present" or surprises > 1:
                    raise
                surprises += 1
                log.warning("zone %s is gone from %s; creating it again", work.zone.name, self._claim.target)
                self._note(
                    state="absent", soa=None, last_repair="the zone was gone; created again", **REPAIRED
                )
            except (ZoneChanged, OutcomeUnknown):
                if work.delivery.state == "creating" or surprises > 1:
                    raise
                surprises += 1
                self._note(must_read=True)
        if has_progressed:
            with self._engine.begin() as connection:
                deliveries.yield_place(connection, self._claim)
            return
        raise ZoneChanged(f"the zone kept changing at {self._claim.target} while it was delivered")

    # --- turns -----------------------------------------------------------------------------------------

    def _turn(self, work: Work) -> bool:
        state, goal = work.delivery.state, work.delivery.goal
        if goal == "absent":
            return self._remove(work)
        if state in ("never", "absent", "foreign"):
            return self._begin(work)
        if state == "creating":
            return self._fill(work)
        if work.delivery.must_read or work.delivery.soa is None:
            return self._reconcile(work)
        return self._push_changes(work)

    def _remove(self, work: Work) -> bool:
        """The goal was read a moment ago; a new zone of the same name has a goal of its own."""
        is_doubtful = work.delivery.state == "absent" and work.delivery.must_read  # somebody may be late
        if work.delivery.state in ("never", "absent", "foreign") and not is_doubtful:
            return self._finish(work, work.delivery.state, None)
        self._backend.delete_zone(work.zone.name)
        return self._finish(work, "absent", None)

    def _begin(self, work: Work) -> bool:
        """The target never had our zone: make sure that it has nobody else's."""
        found = self._backend.read_zone(work.zone.name)
        if found is None:
            self._note(state="creating")
            return self._fill(work)
        wanted = self._wanted(work)
        differences = comparison.foreign_changes(_both(found, wanted), wanted, self._capabilities)
        if differences and not work.delivery.force:
            self._refuse_creation(work, found, len(differences))
        return self._bring(work, found.soa, differences, [])

    def _fill(self, work: Work) -> bool:
        """Create the zone with all it should hold; with less where the server won't have that."""
        wanted = self._contents(work.zone, self._wanted(work))
        is_suspect = self._is_suspect(work)
        try:
            if is_suspect:
                raise RecordRejected(work.delivery.last_error or "the server keeps failing on these contents")
            self._backend.create_zone(wanted)
        except (RecordRejected, Unsupported) as exc:
            log.info("%s refuses to create %s as a whole: %s", self._claim.target, work.zone.name, exc)
            return self._fill_step_by_step(work, is_suspect)
        found = self._backend.read_zone(work.zone.name)
        if found is None:
            raise ZoneMissing(f"zone {work.zone.name} isn't there after it was created")
        dropped = comparison.foreign_changes(_both(found, wanted.rrsets), wanted.rrsets, self._capabilities)
        self._withhold_dropped(work, dropped)
        if found.soa.rdata != work.zone.soa.rdata and not self._capabilities.sets_serial:
            self._note(state="present", must_read=True, soa=found.soa.rdata)
            raise _Again
        return self._finish(work, "present", found.soa)

    def _fill_step_by_step(self, work: Work, is_suspect: bool) -> bool:
        """An empty zone first, then operation by operation, so that only what is refused is left out."""
        apex = (work.zone.name, "NS")
        groups = self._groups_since_creation(work)
        ns = next(
            (e.change.after for group in groups for e in group if e.key == apex and e.change.after), None
        )
        room = len(groups) + 1
        if serials.distance(groups[-1][-1].serial, work.zone.serial) <= room:
            self._lift(parts=room + 1)  # the base must be above every serial of the zone's earlier lives
        first = serials.add(work.zone.serial, -room)
        base = ZoneContents.of(work.zone.name, work.zone.soa.with_serial(first), [ns] if ns else [])
        self._backend.create_zone(base)
        self._note(state="present", soa=base.soa.rdata)
        remaining = [
            [entry for entry in group if entry.key != apex or entry.change.before] for group in groups
        ]
        soa = self._push(work, base.soa, [group for group in remaining if group], is_suspect)
        return self._arrive(work, soa)

    def _push_changes(self, work: Work) -> bool:
        """The usual case: what the journal has since the target's last state."""
        soa = self._push(work, work.current_soa, work.groups, is_suspect=False)
        return self._arrive(work, soa)

    def _reconcile(self, work: Work) -> bool:
        """The target is not as we believe, or we don't know: ask it, then bring it home from there."""
        delta = self._changes_at_target(work)
        wanted = self._wanted(work)
        if delta is not None:
            actual = self._believed(work)
            touched = delta.keys | set(actual)
            believed = {key: actual.get(key, wanted.get(key)) for key in touched}
            found = {key: comparison.rrset_after(key, believed[key], delta) for key in touched}
            differences = comparison.foreign_changes(found, wanted, self._capabilities)
            return self._bring(work, delta.soa, differences, work.entries)
        contents = self._backend.read_zone(work.zone.name)
        if contents is None:
            raise ZoneMissing(f"the server has no zone {work.zone.name}")
        differences = comparison.foreign_changes(_both(contents, wanted), wanted, self._capabilities)
        asked = {entry.key for entry in work.entries}
        unasked = [change for change in differences if change.key not in asked]
        is_ahead = serials.is_ahead(contents.soa.serial, work.zone.serial)
        if is_ahead and unasked and not work.delivery.force:
            raise Blocked(
                "ahead",
                f"serial {contents.soa.serial} at the target is ahead of ours ({work.zone.serial}) and "
                f"{len(unasked)} RRsets differ; nothing more is written there until a change of the zone is "
                "submitted with force=True, which keeps our side",
            )
        return self._bring(work, contents.soa, differences, work.entries)

    def _bring(
        self, work: Work, soa: SOA, differences: Sequence[RRsetChange], entries: Sequence[Entry]
    ) -> bool:
        """From what the target was found to have to what it should have."""
        asked = {entry.key for entry in entries}
        drift = [change for change in differences if change.key not in asked]
        self._guard(work, drift)
        if not differences and soa.rdata == work.zone.soa.rdata:
            return self._finish(work, "present", soa)
        if not serials.is_ahead(work.zone.serial, soa.serial):
            self._lift(above=soa.serial)
        if drift:
            names = ", ".join(f"{name} {type_}" for name, type_ in [change.key for change in drift][:5])
            repair = f"repaired {len(drift)} RRsets that somebody else had changed: {names}"
            log.warning("zone %s at %s: %s", work.zone.name, self._claim.target, repair)
            self._note(last_repair=repair, **REPAIRED)
        is_suspect = bool(entries) and self._is_suspect(work)
        try:
            if is_suspect:
                raise RecordRejected(work.delivery.last_error)
            soa = self._send(work, soa, work.zone.soa, differences)
        except (RecordRejected, Unsupported):
            soa = self._send_drift_first(work, soa, drift)
            soa = self._push(work, soa, work.groups, is_suspect)
        return self._arrive(work, soa)

    def _send_drift_first(self, work: Work, soa: SOA, drift: Sequence[RRsetChange]) -> SOA:
        """Some operation's records are refused: keep them apart from the repair.

        Without drift this is a plan of nothing but the SOA, and so the probe that tells a server that fails
        from one that won't have these contents.
        """
        self._need_room(work, soa, len(work.groups) + 2)
        try:
            soa = self._send(work, soa, work.zone.soa.with_serial(serials.add(soa.serial, 1)), drift)
        except (RecordRejected, Unsupported):
            if not drift:
                raise
            soa = self._send_drift_piecemeal(work, soa, drift)
        self._note(state="present", soa=soa.rdata, must_read=False)
        return soa

    def _send_drift_piecemeal(self, work: Work, soa: SOA, drift: Sequence[RRsetChange]) -> SOA:
        """Repair what the target lets us; an RRset that it won't take back is withheld, the rest goes on."""
        self._need_room(work, soa, len(work.groups) + len(drift) + 2)
        with self._reading.connect() as connection:
            makers = journal.last_entries(connection, work.zone.id, [change.key for change in drift])
        for change in drift:
            self._renew()
            step = work.zone.soa.with_serial(serials.add(soa.serial, 1))
            try:
                soa = self._send(work, soa, step, [change])
            except (RecordRejected, Unsupported) as exc:
                maker = makers.get(change.key)
                if maker is None:
                    raise Blocked("held", f"the target refuses its own repair: {exc}") from exc
                refused = replace(maker, change=RRsetChange(change.before, maker.change.after))
                self._withhold(work, [refused], exc, is_delivered=False)
        return soa

    # --- sending ---------------------------------------------------------------------------------------

    def _push(self, work: Work, soa: SOA, groups: list[list[Entry]], is_suspect: bool) -> SOA:
        """Operations in order, all at once if the target takes them; else halved until the refused one is
        alone, which is withheld. Never splits an operation."""
        if not groups:
            return soa
        changes = self._collapsed(work, groups)
        target_soa = self._soa_after(work, soa, groups)
        try:
            soa = self._send(work, soa, target_soa, changes)
        except (RecordRejected, Unsupported, ServerFailure) as exc:
            if isinstance(exc, ServerFailure) and not is_suspect:
                raise
            if len(groups) == 1:
                self._withhold(work, groups[0], exc)
                return soa
            self._need_room(work, soa, len(groups))
            middle = len(groups) // 2
            soa = self._push(work, soa, groups[:middle], is_suspect)
            return self._push(work, soa, groups[middle:], is_suspect)
        with self._engine.begin() as connection:
            deliveries.note(
                connection, self._claim,
                state="present", soa=soa.rdata, delivered_revision=groups[-1][-1].revision, must_read=False,
            )  # fmt: skip
            deliveries.stop_withholding(connection, self._claim, _last_changes(chain.from_iterable(groups)))
        return soa

    def _send(self, work: Work, soa: SOA, target_soa: SOA, changes: Iterable[RRsetChange]) -> SOA:
        """Carry out the changes and make sure that the target has them; returns the SOA that it has now."""
        whole = plan.make_plan(work.zone.name, soa, target_soa, changes)
        if not whole.changes and soa.rdata == target_soa.rdata:
            return soa
        try:
            parts = plan.split(whole, self._capabilities)
        except plan.SerialsTooClose as exc:
            self._lift(parts=exc.parts + len(work.groups))
        for index, part in enumerate(parts):
            if index:
                self._renew()
            now_there = self._backend.apply(part).soa
        dropped = self._not_there(whole)
        if dropped:
            self._withhold_dropped(work, dropped)
        return now_there

    def _not_there(self, sent: plan.Plan) -> list[RRsetChange]:
        """What the target says that it did and did not: (what it has → what it should have)."""
        if not sent.changes:
            return []
        suspicious = [change.key for change in sent.changes]
        if self._capabilities.reads_changes:
            delta = self._backend.read_changes(sent.zone, sent.current_soa)
            if delta is not None:
                if delta.soa.serial != sent.desired_soa.serial and not self._capabilities.sets_serial:
                    raise ZoneChanged(f"somebody else moved the serial on to {delta.soa.serial}")
                suspicious = comparison.not_as_planned(sent.changes, delta)
        if not suspicious or not self._capabilities.reads_back:
            return []
        found = self._backend.read_rrsets(sent.zone, suspicious)
        wanted = {change.key: change.after for change in sent.changes}
        actual = {key: found.get(key) for key in suspicious}
        return comparison.foreign_changes(actual, wanted, self._capabilities)

    def _is_suspect(self, work: Work) -> bool:
        return work.delivery.last_code == ServerFailure.__name__ and work.delivery.attempts >= SUSPECT_AFTER

    def _soa_after(self, work: Work, soa: SOA, groups: Sequence[Sequence[Entry]]) -> SOA:
        """The SOA that says "up to here": the last operation's serial, where that is ahead."""
        last = groups[-1][-1]
        if last.revision == work.entries[-1].revision:
            if not serials.is_ahead(work.zone.serial, soa.serial):
                self._lift(above=soa.serial)
            return work.zone.soa
        is_free = serials.is_ahead(last.serial, soa.serial) and last.serial != work.zone.serial
        return work.zone.soa.with_serial(last.serial if is_free else serials.add(soa.serial, 1))

    def _arrive(self, work: Work, soa: SOA) -> bool:
        """Everything was sent: the target's SOA must be the zone's."""
        if soa.rdata != work.zone.soa.rdata and not self._capabilities.sets_serial:
            if not serials.is_ahead(work.zone.serial, soa.serial):
                self._lift(above=soa.serial)
            soa = self._send(work, soa, work.zone.soa, [])
        return self._finish(work, "present", soa)

    # --- refusals --------------------------------------------------------------------------------------

    def _withhold(
        self, work: Work, group: Sequence[Entry], refusal: Exception, *, is_delivered: bool = True
    ) -> None:
        """One operation is refused by this target: leave it out here, and remember what the target has."""
        before = self._overlay(work)
        rows = [
            Withheld(
                self._claim.target_id, entry.key, entry.operation_id, entry.revision,
                before.get(entry.key, entry.change.before), storable(str(refusal)),
            )
            for entry in group
        ]  # fmt: skip
        log.warning(
            "%s refuses operation %s on %s: %s",
            self._claim.target,
            group[0].operation_id,
            work.zone.name,
            refusal,
        )
        with self._engine.begin() as connection:
            deliveries.withhold(connection, self._claim, rows)
            if is_delivered:
                deliveries.note(connection, self._claim, delivered_revision=group[-1].revision)
            else:
                deliveries.renew(connection, self._claim, self._settings.lease_s)

    def _withhold_dropped(self, work: Work, dropped: Sequence[RRsetChange]) -> None:
        """RRsets that the target took without a word and doesn't have."""
        if not dropped:
            return
        sent = {change.key: change.after for change in dropped}
        owner = {
            entry.key: entry
            for entry in work.entries
            if entry.key in sent and comparison.is_same(entry.change.after, sent[entry.key])
        }
        unknown = [change.key for change in dropped if change.key not in owner]
        if unknown:
            raise ZoneChanged(f"{DROPPED}: {unknown[0][0]} {unknown[0][1]}")
        rows = []
        for change in dropped:
            entry = owner[change.key]
            rows.append(
                Withheld(
                    self._claim.target_id,
                    entry.key,
                    entry.operation_id,
                    entry.revision,
                    change.before,
                    DROPPED,
                )
            )
        with self._engine.begin() as connection:
            deliveries.withhold(connection, self._claim, rows)

    def _refuse_creation(self, work: Work, found: ZoneContents, differences: int) -> NoReturn:
        message = (
            f"the target has a zone {work.zone.name} already (serial {found.soa.serial}), "
            f"and {differences} RRsets differ; submit with force=True to take it over"
        )
        groups = self._groups_since_creation(work)
        creation = groups[0][0]
        row = Withheld(
            self._claim.target_id,
            (work.zone.name, "SOA"),
            creation.operation_id,
            creation.revision,
            None,
            message,
        )
        with self._engine.begin() as connection:
            deliveries.withhold(connection, self._claim, [row])
        raise Blocked("foreign", message)

    def _guard(self, work: Work, drift: Sequence[RRsetChange]) -> None:
        """A comparison must not empty a server because our own side is the one that is wrong."""
        if work.delivery.force:
            return
        removals = [change for change in drift if change.key != (work.zone.name, "NS")]
        with self._reading.connect() as connection:
            existing = zones.count_rrsets(connection, work.zone.id) + sum(c.is_removal for c in removals)
        try:
            plan.raise_if_unsafe(
                removals, existing=existing, share=self._settings.guard_share,
                minimum=self._settings.guard_minimum, zone=work.zone.name,
            )  # fmt: skip
        except UnsafeChange as exc:
            raise Blocked(
                "held", f"a repair of what somebody else changed there is held back: {exc.message}"
            ) from exc

    # --- what the zone should be here ------------------------------------------------------------------

    def _overlay(self, work: Work) -> Mapping[Key, RRset | None]:
        """What the target has instead of RRsets that it refused."""
        with self._reading.connect() as connection:
            rows = deliveries.withheld_in(connection, work.zone.id, self._claim.target_id)
        return {row.key: row.accepted for row in rows if row.key[1] != "SOA"}

    def _collapsed(self, work: Work, groups: Iterable[Iterable[Entry]]) -> list[RRsetChange]:
        """The operations as one change per RRset, from what the target really has.

        What is withheld stays on record until the target has taken what replaces it.
        """
        overlay = dict(self._overlay(work))
        changes = []
        for entry in chain.from_iterable(groups):
            has_other = entry.key in overlay
            changes.append(
                replace(entry.change, before=overlay.pop(entry.key)) if has_other else entry.change
            )
        return plan.collapse_changes(change for change in changes if change.before or change.after)

    def _wanted(self, work: Work) -> dict[Key, RRset]:
        """The RRsets that the target should hold: the desired ones, save what it refused."""
        with self._snapshot() as connection:
            if zones.get(connection, work.zone.id).revision != work.zone.revision:
                raise _Again
            wanted = {rrset.key: rrset for rrset in zones.rrsets(connection, work.zone.id)}
        fresh = {entry.key: entry.revision for entry in work.entries}
        for key, row in work.withheld.items():
            if key[1] == "SOA" or fresh.get(key, 0) > row.revision:
                continue
            if row.accepted is None:
                wanted.pop(key, None)
            else:
                wanted[key] = row.accepted
        return wanted

    def _believed(self, work: Work) -> dict[Key, RRset | None]:
        """What we took the target to have, for the RRsets that were changed since."""
        believed: dict[Key, RRset | None] = {}
        for entry in work.entries:
            believed.setdefault(entry.key, entry.change.before)
        return believed | {key: row.accepted for key, row in work.withheld.items() if key[1] != "SOA"}

    def _contents(self, zone: ZoneRow, rrsets: Mapping[Key, RRset]) -> ZoneContents:
        return ZoneContents(soa=zone.soa, rrsets=rrsets, name=zone.name)

    def _groups_since_creation(self, work: Work) -> list[list[Entry]]:
        """The operations since the zone was last created; the first is the creation."""
        with self._snapshot() as connection:
            entries = journal.since(connection, work.zone.id, 0, work.zone.revision)
        apex = (work.zone.name, "NS")
        births = [entry.revision for entry in entries if entry.key == apex and entry.change.before is None]
        living = [entry for entry in entries if not births or entry.revision >= births[-1]]
        return [list(group) for _, group in groupby(living, key=lambda entry: entry.revision)]

    def _changes_at_target(self, work: Work) -> ZoneDelta | None:
        if not self._capabilities.reads_changes or work.delivery.soa is None:
            return None
        return self._backend.read_changes(work.zone.name, work.current_soa)

    # --- rows ------------------------------------------------------------------------------------------

    def _snapshot(self) -> sa.Connection:
        """A connection whose reads all see one moment. To be used in a `with`."""
        if self._engine.dialect.name == "sqlite":
            return self._reading.connect()  # every transaction is one
        return self._reading.execution_options(isolation_level="REPEATABLE READ").connect()

    def _read(self) -> Work:
        with self._snapshot() as connection:
            row = deliveries.read(connection, self._claim)
            zone = zones.get(connection, row.zone_id)
            withheld = deliveries.withheld_in(connection, row.zone_id, row.target_id)
            entries = []
            if row.goal == "present":
                entries = journal.since(connection, row.zone_id, row.delivered_revision, zone.revision)
        return Work(zone, row, entries, {one.key: one for one in withheld})

    def _renew(self) -> None:
        with self._engine.begin() as connection:
            deliveries.renew(connection, self._claim, self._settings.lease_s)

    def _note(self, **values: object) -> None:
        with self._engine.begin() as connection:
            deliveries.note(connection, self._claim, **values)

    def _finish(self, work: Work, state: str, soa: SOA | None, **values: object) -> bool:
        with self._engine.begin() as connection:
            # The zone before its deliveries, as everywhere: two orders of locking are a deadlock.
            zones.update(connection, work.zone.id, look_at=now(desired.LOOK_GUARD_S), looks=0)
            if state == "present":
                apex = {(work.zone.name, "SOA"): work.zone.revision + 1}  # somebody else's zone is gone
                deliveries.stop_withholding(connection, self._claim, apex | _last_changes(work.entries))
            return deliveries.finish(
                connection, self._claim, delivered_revision=work.zone.revision, goal=work.delivery.goal,
                state=state, soa=soa.rdata if soa else None, **values,
            )  # fmt: skip

    def _need_room(self, work: Work, soa: SOA, steps: int) -> None:
        """Make sure that there are serials between here and the zone's for so many messages."""
        if serials.distance(soa.serial, work.zone.serial) < steps:
            self._lift(parts=steps + 1, above=soa.serial)

    def _lift(self, *, above: int | None = None, parts: int = 1) -> NoReturn:
        """Raise the zone's serial, everywhere, and start over from there."""
        with self._engine.begin() as connection:
            desired.lift(connection, self._known, self._claim.zone_id, above=above, parts=parts)
        raise _Again


REPAIRED = {"last_repair_at": now()}


def storable(message: str) -> str:
    """A server's words as any database takes them: no NUL, no half characters, no novel."""
    text = message.encode("utf-8", "backslashreplace").decode()
    return text.replace("\x00", "\\x00")[:MESSAGE_LENGTH]


def _last_changes(entries: Iterable[Entry]) -> dict[Key, int]:
    """The revision that last changed each RRset."""
    return {entry.key: entry.revision for entry in entries}


def _both(found: ZoneContents, wanted: Mapping[Key, RRset]) -> dict[Key, RRset | None]:
    """What the target has, for every key that it has or should have."""
    return {
        key: found.rrsets.get(key) for key in [*found.rrsets, *(k for k in wanted if k not in found.rrsets)]
    }
