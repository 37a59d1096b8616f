"""What to ask a nameserver about a zone, and how far its answers prove that it has got.

Separate from the asking: here is what counts as evidence. A serial does only if it equals one that we wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from dnsworker import comparison, serials
from dnsworker.answers import Answer, answer, relevant_names
from dnsworker.names import Name
from dnsworker.observer import NameserverAddress, Observed, agrees, is_gone
from dnsworker.pools import Nameserver
from dnsworker.records import SOA, Key, RRset
from dnsworker.standing import Standing, Witness
from dnsworker.store import journal, zones
from dnsworker.store.deliveries import AWAY
from dnsworker.store.observations import Observation
from dnsworker.store.rows import ZoneRow

#: How many changed RRsets a nameserver is asked for besides its SOA.
ASKED = 8
ASKED_BY_CONTENT = 50


@dataclass(slots=True)
class Inquiry:
    """What one nameserver is to be asked about one zone."""

    witness: Witness
    nameserver: Nameserver
    verified: int
    #: Serials that we wrote for contents that we know → their revision.
    revisions: dict[int, int]
    #: Contents decide alone: the provider sets the serial.
    ignores_serial: bool = False
    #: The serial may be ahead of ours, then contents decide: a target's signer counts for itself, or others
    #: write to the pool's zones, too.
    may_be_ahead: bool = False
    #: What it must answer at `expected_at`.
    expected: dict[Key, Answer] = field(default_factory=dict)
    expected_at: int = 0


def inquiries_about(standing: Standing, zone: ZoneRow) -> list[Inquiry]:
    """Whom to ask what."""
    return [
        inquiry
        for witness in standing.witnesses
        if witness.nameserver is not None
        and (inquiry := _inquiry(standing, zone, witness, witness.nameserver)) is not None
    ]


def _inquiry(standing: Standing, zone: ZoneRow, witness: Witness, server: Nameserver) -> Inquiry | None:
    """What to ask a nameserver; None while it has no reason to know more than it was found to know."""
    verified = standing.verified(witness)
    if verified >= zone.revision:
        return None
    rows = {name: row for name, row in standing.rows.items() if witness.target in (None, name)}
    revisions: dict[int, int] = {}
    for row in rows.values():
        if zone.is_deleted and row.state in AWAY:
            revisions[zone.serial] = row.delivered_revision
        elif row.state == "present" and row.soa is not None:
            revisions[SOA.from_rdata(row.soa, zone.ttl).serial] = row.delivered_revision
    if max(revisions.values(), default=0) <= verified:
        return None
    known = standing.known.capabilities
    sets_serial = any(known[name].sets_serial for name in rows if name in known)
    ignores_serial = sets_serial or server.verify == "content"
    signer_counts = any(known[name].signer_counts for name in rows if name in known)
    may_be_ahead = signer_counts or standing.known.pool.is_shared
    return Inquiry(witness, server, verified, revisions, ignores_serial, may_be_ahead)


def expect_all(
    connection: sa.Connection, subjects: Sequence[tuple[Standing, ZoneRow, list[Inquiry]]]
) -> None:
    """Fill in what the nameservers must answer, where their target is at the zone's present contents."""
    asked: list[tuple[ZoneRow, Inquiry, list[Key]]] = []
    wanted = [
        (standing, zone, inquiry)
        for standing, zone, inquiries in subjects
        for inquiry in inquiries
        if not zone.is_deleted
        and inquiry.nameserver.verify != "serial"
        and zone.revision in inquiry.revisions.values()
    ]
    changed = journal.changed_keys(
        connection,
        {(zone.id, inquiry.verified) for _, zone, inquiry in wanted},
        ASKED_BY_CONTENT,
    )
    for standing, zone, inquiry in wanted:
        limit = ASKED_BY_CONTENT if inquiry.ignores_serial or inquiry.may_be_ahead else ASKED
        keys = changed[zone.id, inquiry.verified][:limit]
        targets = standing.known.target_ids
        shown = {key for name, key in targets.items() if inquiry.witness.target in (None, name)}
        refused = {row.key for row in standing.withheld if row.target_id in shown}
        inquiry.expected_at = zone.revision
        keys = [
            key for key in keys if key not in refused and not _is_the_providers(key, inquiry, standing, zone)
        ]
        if keys:
            asked.append((zone, inquiry, keys))
    if not asked:
        return
    views = _database_views(connection, asked)
    for zone, inquiry, keys in asked:
        answers = {key: answer(views[zone.id], *key) for key in keys}
        inquiry.expected = {key: one for key, one in answers.items() if not one.is_endless}


def _is_the_providers(key: Key, inquiry: Inquiry, standing: Standing, zone: ZoneRow) -> bool:
    """Whether a target that the nameserver answers for has apex NS of its own."""
    return any(
        comparison.is_the_providers(key, zone.name, capabilities)
        for name, capabilities in standing.known.capabilities.items()
        if inquiry.witness.target in (None, name)
    )


def judged(zone: ZoneRow, inquiry: Inquiry, soa: Observed, contents: Mapping[Key, Observed]) -> Observation:
    """How far the nameserver has got: a serial is evidence only if it equals one that we wrote."""
    if soa.kind != "answer":
        return observed(zone, inquiry, None, soa.error or "did not answer")
    if soa.serial is None or not soa.authoritative:
        return observed(zone, inquiry, None, f"has no authority for {zone.name} (answers {soa.rcode})")
    reached = inquiry.revisions.get(soa.serial)
    contents_decide = inquiry.ignores_serial or (reached is None and _was_moved_on(inquiry, soa.serial))
    if reached is None and not contents_decide:
        return observed(zone, inquiry, soa.serial, f"shows serial {soa.serial}, not {zone.serial}")
    wrong = [
        f"{name} {type_}" + (f": {contents[name, type_].error}" if contents[name, type_].error else "")
        for (name, type_), expected in inquiry.expected.items()
        if not agrees(contents[name, type_], expected, type_)
    ]
    if contents_decide:
        # With nothing to ask for, only the SOA has changed, or what its target refuses.
        reached = max(inquiry.revisions.values()) if inquiry.expected_at else reached
    if wrong and reached is not None and reached >= inquiry.expected_at:
        return observed(zone, inquiry, soa.serial, f"does not answer as it should for {', '.join(wrong[:3])}")
    if reached is None:
        return observed(zone, inquiry, soa.serial, "can't be judged: nothing to ask it")
    error = None if reached >= zone.revision else f"shows serial {soa.serial}, not {zone.serial}"
    return observed(zone, inquiry, soa.serial, error, reached)


def _was_moved_on(inquiry: Inquiry, serial: int) -> bool:
    """Whether a serial that we didn't write may be the signer's, or that of others who write there, too: it
    goes on from the last that we know."""
    written = max(inquiry.revisions, key=lambda one: inquiry.revisions[one])
    return inquiry.may_be_ahead and serials.is_ahead(serial, written)


def gone(zone: ZoneRow, inquiry: Inquiry, soa: Observed) -> Observation:
    verdict = is_gone(soa, zone.name)
    if verdict is None:
        return observed(
            zone, inquiry, None, soa.error or f"can't tell whether the zone is gone ({soa.rcode})"
        )
    if not verdict:
        return observed(zone, inquiry, soa.serial, "still serves the zone")
    return observed(zone, inquiry, None, None, max(inquiry.revisions.values()))


def observed(
    zone: ZoneRow, inquiry: Inquiry, serial: int | None, error: str | None, reached: int = 0
) -> Observation:
    return Observation(
        zone.id, inquiry.witness.name, max(reached, inquiry.verified), serial, datetime.now(UTC), error
    )


def address_of(server: Nameserver) -> NameserverAddress:
    key = server.tsig_key.to_dnspython() if server.tsig_key is not None else None
    return NameserverAddress(server.host, server.port, key)


def _database_views(
    connection: sa.Connection, asked: Iterable[tuple[ZoneRow, Inquiry, list[Key]]]
) -> dict[int, _DatabaseView]:
    """Of each of the zones what the answers need, all read at once."""
    views: dict[int, _DatabaseView] = {}
    names: dict[int, set[Name]] = {}
    for zone, _, keys in asked:
        views.setdefault(zone.id, _DatabaseView(connection, zone))
        needed = names.setdefault(zone.id, set())
        for owner, _ in keys:
            needed.update(relevant_names(owner, zone.name))
    for zone_id, rrset in zones.rrsets_of(connection, names):
        views[zone_id].add(rrset)
    for zone_id, owners in names.items():
        views[zone_id].has_fetched(owners)
    return views


class _DatabaseView:
    """The zone as it should be, as far as the answers to some questions need it."""

    def __init__(self, connection: sa.Connection, zone: ZoneRow) -> None:
        self._connection, self._zone = connection, zone
        self.name = zone.name
        self.soa = zone.soa
        self._nodes: dict[Name, dict[str, RRset]] = {}
        self._fetched: set[Name] = set()

    def add(self, rrset: RRset) -> None:
        self._nodes.setdefault(rrset.name, {})[rrset.type] = rrset

    def has_fetched(self, names: set[Name]) -> None:
        """All that there is of these owners was added."""
        self._fetched |= names

    def node(self, name: Name) -> Mapping[str, RRset]:
        if name not in self._fetched:
            for rrset in zones.rrsets_at(self._connection, self._zone.id, {name}).values():
                self.add(rrset)
            self._fetched.add(name)
        return self._nodes.get(name, {})

    def has_descendants(self, name: Name) -> bool:
        return bool(zones.names_below(self._connection, self._zone.id, name, limit=1))
