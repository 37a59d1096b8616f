"""What a zone should be at one target, which may have refused some of it, and keeps some for itself.

Separate from the ledger, in which is written down what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import chain, groupby

import sqlalchemy as sa

from dnsworker import comparison, plan
from dnsworker.capabilities import Capabilities
from dnsworker.convergence.interruptions import Again
from dnsworker.convergence.work import Work
from dnsworker.database import snapshot
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key, RRset
from dnsworker.store import journal, withholding, zones
from dnsworker.store.claims import Claim
from dnsworker.store.journal import Entry
from dnsworker.store.pools import KnownPool


class Expectation:
    """Of one claim."""

    def __init__(
        self,
        engine: sa.Engine,
        reading: sa.Engine,
        known: KnownPool,
        claim: Claim,
        capabilities: Capabilities,
    ) -> None:
        self._engine, self._reading = engine, reading
        self._known, self._claim, self._capabilities = known, claim, capabilities

    def wanted(self, work: Work, keys: Collection[Key] | None = None) -> dict[Key, RRset]:
        """The RRsets that the target should hold: the desired ones, save what it refused or keeps itself.

        With `keys`, only these are read (a zone may have a million), and what it refused.
        """
        with snapshot(self._engine) as connection:
            if zones.get(connection, work.zone.id).revision != work.zone.revision:
                raise Again
            if keys is None:
                wanted = {rrset.key: rrset for rrset in zones.rrsets(connection, work.zone.id)}
            else:
                wanted = zones.rrsets_at(connection, work.zone.id, {name for name, _ in keys})
        fresh = {entry.key: entry.revision for entry in work.entries}
        for key, row in work.withheld.items():
            if key[1] == "SOA" or fresh.get(key, 0) > row.revision:
                continue
            if row.accepted is None:
                wanted.pop(key, None)
            else:
                wanted[key] = row.accepted
        return {key: rrset for key, rrset in wanted.items() if not self._is_the_providers(key, work)}

    def differences(
        self, work: Work, actual: Mapping[Key, RRset | None], wanted: Mapping[Key, RRset | None]
    ) -> list[RRsetChange]:
        """What leads from what the target has to what it should have; what is never ours left out."""
        changes = comparison.foreign_changes(actual, wanted, work.zone.name, self._capabilities)
        ignores = self._known.pool.ignores
        return [change for change in changes if not ignores(change.key, work.zone.name)]

    def ours(self, zone: Name, keys: Iterable[Key]) -> list[Key]:
        """Those that aren't the server's signer's, its provider's or somebody else's by `ignore`."""
        ignores = self._known.pool.ignores
        return [
            key
            for key in keys
            if comparison.is_visible(key, zone, self._capabilities) and not ignores(key, zone)
        ]

    def believed(self, work: Work) -> dict[Key, RRset | None]:
        """What we took the target to have, for the RRsets that were changed since."""
        believed: dict[Key, RRset | None] = {}
        for entry in work.entries:
            believed.setdefault(entry.key, entry.change.before)
        return believed | {key: row.accepted for key, row in work.withheld.items() if key[1] != "SOA"}

    def overlay(self, work: Work) -> Mapping[Key, RRset | None]:
        """What the target has instead of RRsets that it refused."""
        with self._reading.connect() as connection:
            rows = withholding.withheld_in(connection, work.zone.id, self._claim.target_id)
        return {row.key: row.accepted for row in rows if row.key[1] != "SOA"}

    def collapsed(self, work: Work, groups: Iterable[Iterable[Entry]]) -> list[RRsetChange]:
        """The operations as one change per RRset, from what the target really has.

        What is withheld stays on record until the target has taken what replaces it.
        """
        overlay = dict(self.overlay(work))
        changes = []
        for entry in chain.from_iterable(groups):
            has_other = entry.key in overlay
            changes.append(
                replace(entry.change, before=overlay.pop(entry.key)) if has_other else entry.change
            )
        return plan.collapse_changes(
            change
            for change in changes
            if (change.before or change.after) and not self._is_the_providers(change.key, work)
        )

    def groups_since_creation(self, work: Work) -> list[list[Entry]]:
        """The operations since the zone was last created; the first is the creation.

        Of what the journal has let go of, the last change of each RRset is left: as if there had been none
        before.
        """
        with snapshot(self._engine) as connection:
            entries = journal.since(connection, work.zone.id, 0, work.zone.revision)
        apex = (work.zone.name, "NS")
        births = [entry.revision for entry in entries if entry.key == apex and entry.change.before is None]
        living = [entry for entry in entries if not births or entry.revision >= births[-1]]
        seen: set[Key] = set()
        for position, entry in enumerate(living):
            if entry.key not in seen and entry.change.before is not None:
                living[position] = replace(entry, change=RRsetChange(None, entry.change.after))
            seen.add(entry.key)
        return [list(group) for _, group in groupby(living, key=lambda entry: entry.revision)]

    def _is_the_providers(self, key: Key, work: Work) -> bool:
        return comparison.is_the_providers(key, work.zone.name, self._capabilities)
