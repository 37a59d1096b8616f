"""Many zones at one target brought to their goals together: the usual changes, and no others.

Separate from the turns, which know what to do about everything. Here what is usual is done for some dozens
of zones with a few statements and one exchange with the server; whatever turns out otherwise is given back,
to be read first, and comes again by itself. So no zone waits for the trouble of another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from dnsworker import plan, serials
from dnsworker.backend import Backend, load_backend
from dnsworker.convergence.ledger import Ledger
from dnsworker.convergence.look import next_look_s, tells_by_serial
from dnsworker.convergence.sending import Sender
from dnsworker.convergence.work import Work
from dnsworker.desired import LOOK_GUARD_S
from dnsworker.errors import BackendError, ClaimLost, Unreachable
from dnsworker.names import Name
from dnsworker.plan import Plan
from dnsworker.settings import Settings
from dnsworker.store import convoys, journal, zones
from dnsworker.store.claims import Claim
from dnsworker.store.deliveries import DeliveryRow
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow
from dnsworker.tracing.notes import Leg

log = logging.getLogger(__name__)

#: Rows of the journal that are sent together; a zone with more of its own goes by itself.
ENTRIES_AT_ONCE = 2_000


@dataclass(slots=True)
class Outcome:
    """What became of the claims of a convoy."""

    #: The target has what is wanted; it is written down, and the claim given back.
    arrived: list[Claim] = field(default_factory=list)
    #: Another worker has the claim by now.
    lost: list[Claim] = field(default_factory=list)
    #: Not usual, though nothing was sent: still held, for a delivery of its own.
    unusual: list[Claim] = field(default_factory=list)
    #: The target couldn't be reached: still held.
    unreached: list[Claim] = field(default_factory=list)
    error: Unreachable | None = None
    #: Nothing was sent, because there was no time left: still held.
    left: list[Claim] = field(default_factory=list)
    #: Given back, to be read first.
    doubtful: list[Claim] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Passenger:
    """One zone that goes along, to where it is in the database."""

    claim: Claim
    work: Work


@dataclass(frozen=True, slots=True)
class _Change(Passenger):
    plan: Plan


class ClaimSeveral(Protocol):
    """One of the ways of `store.convoys` to claim what goes together."""

    def __call__(
        self, connection: sa.Connection, target_id: int, target_name: str, *,
        owner: int, lease_s: float, limit: int,
    ) -> dict[Claim, DeliveryRow]: ...  # fmt: skip


C = TypeVar("C", bound="Convoy")


def gather_by(
    claim: ClaimSeveral,
    limit: int,
    make: Callable[[sa.Connection, dict[Claim, DeliveryRow], dict[int, ZoneRow]], C],
    engine: sa.Engine,
    known: KnownPool,
    target: str,
    settings: Settings,
    *,
    owner: int,
    may_begin: Callable[[sa.Connection], bool],
) -> C | None:
    """Claim up to `limit` deliveries, and have `make` read all that is needed for them; None: there are none.

    `may_begin` has the last word, at the end of the transaction: what it forbids was never claimed.
    """
    with engine.connect() as connection:
        claimed = claim(
            connection, known.target_ids[target], target,
            owner=owner, lease_s=settings.lease_s, limit=limit,
        )  # fmt: skip
        if not claimed:
            return None
        # The deliveries are locked: nobody can have moved one of these zones on since they were claimed.
        convoy = make(connection, claimed, zones.get_all(connection, [one.zone_id for one in claimed]))
        if not may_begin(connection):
            return None
        connection.commit()
    convoy.is_full = len(claimed) == limit
    return convoy


def gather(engine: sa.Engine, known: KnownPool, target: str, settings: Settings, **how: Any) -> Convoy | None:
    """Claim what is due at the target and usual, and read all that is needed for it; None: there is nothing.

    `how`: as in `gather_by`.
    """

    def make(
        connection: sa.Connection, claimed: dict[Claim, DeliveryRow], found: dict[int, ZoneRow]
    ) -> Convoy:
        ids = list(found)
        entries = journal.since_deliveries(connection, known.target_ids[target], ids, ENTRIES_AT_ONCE)
        works = {
            claim: Work(found[claim.zone_id], row, entries[claim.zone_id], {})
            if claim.zone_id in entries else None
            for claim, row in claimed.items()
        }  # fmt: skip
        return Convoy(engine, known, target, works, settings)

    limit = known.capabilities[target].pipelined
    return gather_by(convoys.claim_usual, limit, make, engine, known, target, settings, **how)


class Convoy:
    """Claims that were taken together, with all that is needed to carry them out. For one thread."""

    #: As many zones as may go together: others may have been left behind.
    is_full = False
    #: Whether all that the target has of a zone was read when that zone has arrived.
    _reads_all = False

    def __init__(
        self, engine: sa.Engine, known: KnownPool, target: str, works: dict[Claim, Work | None],
        settings: Settings,
    ) -> None:  # fmt: skip
        """`works`: None for a zone that has to go by itself."""
        self._engine, self._known, self._target, self._settings = engine, known, target, settings
        self._works = works
        self._capabilities = known.capabilities[target]

    @property
    def claims(self) -> list[Claim]:
        return list(self._works)

    @property
    def operations(self) -> int:
        """How many operations it carries, counted once for each zone."""
        works = [work for work in self._works.values() if work is not None]
        return sum(len({entry.operation_id for entry in work.entries}) for work in works)

    def legs(self, claims: Sequence[Claim]) -> list[Leg]:
        """From where to where these zones went, or were to go."""
        works = [self._works[claim] for claim in claims]
        return [work.leg() for work in works if work is not None]

    def run(self, backend: Backend) -> Outcome:
        """Have the zones changed, make sure of it, and write it down."""
        outcome = Outcome()
        backend.checkpoint = backend.renew = self._renew
        passengers = [one for claim, work in self._works.items() if (one := self._plan(claim, work))]
        aboard = {one.claim for one in passengers}
        outcome.unusual += [claim for claim in self._works if claim not in aboard]
        if not passengers:
            return outcome
        answers = backend.apply_together([one.plan for one in passengers])
        sent: list[_Change] = []
        for one, answer in zip(passengers, answers, strict=True):
            if isinstance(answer, Unreachable):
                outcome.unreached.append(one.claim)
                outcome.error = answer
            elif isinstance(answer, BackendError):
                self._say(one.plan.zone, answer)
                outcome.doubtful.append(one.claim)
            else:
                sent.append(one)
        there = self._confirmed(backend, sent)
        outcome.doubtful += [one.claim for one in sent if one not in there]
        self._note(there, outcome)
        outcome.lost += self._give_back(outcome.doubtful)
        return outcome

    def _plan(self, claim: Claim, work: Work | None) -> _Change | None:
        """None where the zone has to go by itself."""
        if work is None or not serials.is_ahead(work.zone.serial, work.current_soa.serial):
            return None
        changes = plan.collapse_changes(entry.change for entry in work.entries)
        whole = plan.make_plan(work.zone.name, work.current_soa, work.zone.soa, changes)
        try:
            parts = plan.split(whole, self._capabilities)
        except plan.SerialsTooClose:
            return None
        return _Change(claim, work, whole) if len(parts) == 1 else None

    def _confirmed(self, backend: Backend, sent: Sequence[_Change]) -> list[_Change]:
        """Those of which the target itself shows that it has exactly what it was sent."""
        there = []
        for one in sent:
            ledger = Ledger(
                self._engine, self._known, one.claim, self._settings, self._capabilities,
                tells_by_serial=True,
            )  # fmt: skip
            try:
                if not Sender(backend, ledger).not_there(one.plan):
                    there.append(one)
            except Unreachable as exc:  # each further question would cost a time-out
                log.info("%s: can't be read back: %s", self._target, exc)
                break
            except (BackendError, ClaimLost) as exc:
                self._say(one.plan.zone, exc)
        return there

    def _say(self, zone: Name, error: BackendError | ClaimLost) -> None:
        log.info("%s: %s: %s: %s", self._target, zone, error.code, error, extra={"zone": zone})

    def _note(self, there: Sequence[Passenger], outcome: Outcome) -> None:
        """Write down what has arrived. A zone that somebody else has locked is waited for by itself."""
        for one in self._note_free(there, outcome):
            self._note_free([one], outcome)

    def _note_free(self, there: Sequence[Passenger], outcome: Outcome) -> list[Passenger]:
        """Returns those of several whose zones are locked."""
        if not there:
            return []
        kind = load_backend(self._known.pool.target(self._target).type)
        by_serial = tells_by_serial(kind, self._capabilities)
        with self._engine.begin() as connection:
            # The zones before their deliveries, as everywhere: two orders of locking are a deadlock.
            locked = zones.lock_free(connection, [one.claim.zone_id for one in there])
            noted = [one for one in there if one.claim.zone_id in locked]
            rows = [
                {
                    "zone_id": one.claim.zone_id, "target_id": one.claim.target_id,
                    "epoch": one.claim.epoch, "revision": one.work.zone.revision,
                    "soa": one.work.zone.soa.rdata, "has_read": self._reads_all,
                    "look_s": next_look_s(self._settings, by_serial=by_serial),
                }
                for one in noted
            ]  # fmt: skip
            done = convoys.finish_all(connection, rows)
            unseen = [zone.id for zone in locked.values() if zone.look_at is None or zone.looks]
            # Who was replaced meanwhile has nobody asked: the successor has seen to that.
            zones.look_within(connection, [one for one in unseen if one in done], LOOK_GUARD_S)
        for one in noted:
            (outcome.arrived if one.claim.zone_id in done else outcome.lost).append(one.claim)
        return [one for one in there if one.claim.zone_id not in locked]

    def _give_back(self, claims: Sequence[Claim]) -> list[Claim]:
        """To be read first: they come again at once, each by itself. Returns those that were lost before."""
        if not claims:
            return []
        with self._engine.begin() as connection:
            held = convoys.give_back_all(connection, claims, must_read=True)
        return [claim for claim in claims if claim.zone_id not in held]

    def _renew(self) -> None:
        with self._engine.begin() as connection:
            convoys.renew_all(connection, self._works, self._settings.lease_s)
