"""What may stand together in a zone and its pool, judged against the rows before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dnsworker import names, placement
from dnsworker.desired.draft import Draft, ZoneAfter
from dnsworker.errors import InvalidRecord, InvalidRequest
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key
from dnsworker.store.pools import KnownPool
from dnsworker.store.rows import ZoneRow


def check_placement(
    draft: Draft,
    zone: ZoneRow,
    changes: Sequence[RRsetChange],
    after: placement.ZoneView | None = None,
) -> None:
    """Raises `InvalidRecord` when the zone with the changes holds what can't stand together.

    `after` is that zone, where the caller has all of it at hand; else as much as is needed is read.
    """
    if not changes:
        return
    placement.check_placement(changes, after or ZoneAfter(draft, zone, changes))


def placeable(
    draft: Draft, zone: ZoneRow, changes: Iterable[RRsetChange]
) -> tuple[list[RRsetChange], list[Key]]:
    fits: list[RRsetChange] = []
    stuck: list[Key] = []
    for change in changes:
        try:
            check_placement(draft, zone, [*fits, change])
        except InvalidRecord:
            stuck.append(change.key)
        else:
            fits.append(change)
    return fits, stuck


def check_timers(zone: ZoneRow, values: Mapping[str, Any]) -> None:
    """Refuses SOA timers that can't work together, where one of them changes (RFC 1912, section 2.2)."""
    if not values.keys() & {"refresh", "retry", "expire"}:
        return
    refresh, retry, expire = (
        values.get(field, getattr(zone, field)) for field in ("refresh", "retry", "expire")
    )
    if retry >= refresh:
        raise InvalidRequest(
            f"{zone.name}: with retry {retry} and refresh {refresh} secondaries would look again later after "
            "a failure than after a success: give a retry below the refresh"
        )
    if expire < refresh + retry:
        raise InvalidRequest(
            f"{zone.name}: with expire {expire} secondaries would drop the zone before they tried again: "
            f"give an expire of at least refresh + retry, {refresh + retry}"
        )


def check_types(known: KnownPool, changes: Sequence[RRsetChange]) -> None:
    """Refuses early what a target of the pool can't hold at all."""
    wanted = {change.key[1] for change in changes if not change.is_removal}
    for target in known.pool.targets:
        capabilities = known.capabilities.get(target.name)
        if capabilities is not None and capabilities.types is not None and wanted - capabilities.types:
            missing = wanted - capabilities.types
            first = next(one.key for one in changes if not one.is_removal and one.key[1] in missing)
            raise InvalidRecord(
                f"{first[0]} {first[1]}: target {target.name} ({target.type}) can't hold records of type "
                f"{', '.join(sorted(missing))}"
            )


def check_ignored(known: KnownPool, zone: Name, changes: Sequence[RRsetChange]) -> None:
    """Refuses what the pool's `ignore` leaves to somebody else."""
    for change in changes:
        if known.pool.ignores(change.key, zone):
            name, type_ = change.key
            raise InvalidRecord(
                f"{name} {type_} is left to others by `ignore` of pool {known.pool.name}: "
                "dnsworker neither writes nor removes it"
            )


def check_children(draft: Draft, zone: ZoneRow, changes: Sequence[RRsetChange]) -> None:
    """Records of a zone that we hold below this one belong there, not here (NS and DS at its top aside)."""
    added = [change.key for change in changes if not change.is_removal]
    above = placement.names_needed(added, zone.name) - {zone.name}
    children = draft.held_below(zone.pool_id, zone.name, above)
    for name, type_ in added if children else ():
        inside = children.intersection([name, *names.ancestors(name, zone.name)])
        if inside and not (name in inside and type_ in ("NS", "DS")) and type_ not in ("A", "AAAA"):
            child = max(inside, key=len)
            raise InvalidRecord(
                f"{name} {type_} belongs to the zone {child}, which this pool holds: change it there"
            )
