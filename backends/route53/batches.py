"""Changes as change batches: each is carried out as a whole or not at all, within the limits of Route 53.

    | a request holds at most                | counted                                         |
    |----------------------------------------|-------------------------------------------------|
    | 1,000 ResourceRecord elements          | of DELETE and CREATE once, of UPSERT twice      |
    | 32,000 characters of all their values  | the same                                        |

An RRset that exists is replaced by DELETE of exactly what it was and CREATE: so a batch that starts from
another state than it believes is refused by Route 53. Only the apex NS, which can't be deleted, are UPSERTed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from backends.route53 import convert
from backends.route53.convert import Item
from dnsworker.errors import RecordRejected
from dnsworker.names import Name
from dnsworker.plan import RRsetChange
from dnsworker.records import Key

MAX_RECORDS = 1000
MAX_CHARACTERS = 32_000

#: What Route 53 has instead of our own way to write an RRset.
Spellings = Mapping[Key, Item]


def pack(changes: Iterable[RRsetChange], apex: Name) -> list[list[RRsetChange]]:
    """The changes in their order as batches: one, if they fit; else cut between owners.

    An owner that is too large alone is cut between its RRsets, and an RRset whose old and new form don't fit
    together into its removal and its addition: for a moment it is absent. Raises `RecordRejected`.
    """
    batches: list[list[RRsetChange]] = []
    used = (0, 0)
    for _, group in groupby(changes, key=lambda change: change.key[0]):
        for piece in _pieces(list(group), apex):
            costs = _costs(piece, apex)
            wanted = (used[0] + costs[0], used[1] + costs[1])
            if not batches or not _fits(wanted):
                batches.append([])
                wanted = costs
            batches[-1].extend(piece)
            used = wanted
    return batches


def to_api(changes: Iterable[RRsetChange], apex: Name, spellings: Spellings) -> list[Item]:
    """The `Changes` of a request."""
    items: list[Item] = []
    for change in changes:
        if change.key == (apex, "NS"):
            assert change.after is not None, "refused before: a zone has apex NS"
            items.append(_action("UPSERT", convert.item_of(change.after)))
            continue
        if change.before is not None:
            spelled = spellings.get(change.key)
            is_meant = spelled is not None and convert.rrset_of(spelled) == change.before
            items.append(
                _action("DELETE", spelled if spelled and is_meant else convert.item_of(change.before))
            )
        if change.after is not None:
            items.append(_action("CREATE", convert.item_of(change.after)))
    return items


def deletions(items: Iterable[Item]) -> list[list[Item]]:
    """Batches that delete what was listed, exactly as it was listed."""
    batches: list[list[Item]] = [[]]
    used = (0, 0)
    for item in items:
        values = convert.raw_values(item)
        costs = (max(1, len(values)), sum(map(len, values)))
        wanted = (used[0] + costs[0], used[1] + costs[1])
        if batches[-1] and not _fits(wanted):
            batches.append([])
            wanted = costs
        batches[-1].append(_action("DELETE", item))
        used = wanted
    return [batch for batch in batches if batch]


def _pieces(group: list[RRsetChange], apex: Name) -> list[list[RRsetChange]]:
    """What must go into one batch, if possible at all."""
    if _fits(_costs(group, apex)):
        return [group]
    pieces: list[list[RRsetChange]] = []
    for change in group:
        halves = [change]
        if not _fits(_costs([change], apex)) and change.before and change.after:
            halves = [RRsetChange(change.before, None), RRsetChange(None, change.after)]
        for half in halves:
            if not _fits(_costs([half], apex)):
                name, type = half.key
                raise RecordRejected(
                    f"{name} {type} is too large for Route 53: a request holds {MAX_RECORDS:,} records "
                    f"and {MAX_CHARACTERS:,} characters",
                    rrset=half.key,
                )
            pieces.append([half])
    return pieces


def _costs(changes: Sequence[RRsetChange], apex: Name) -> tuple[int, int]:
    records = characters = 0
    for change in changes:
        is_upsert = change.key == (apex, "NS")
        for rrset in (change.after, change.after) if is_upsert else (change.before, change.after):
            if rrset is not None:
                records += len(rrset.data)
                characters += sum(map(len, convert.values_of(rrset)))
    return records, characters


def _fits(costs: tuple[int, int]) -> bool:
    return costs[0] <= MAX_RECORDS and costs[1] <= MAX_CHARACTERS


def _action(action: str, item: Item) -> Item:
    return {"Action": action, "ResourceRecordSet": item}
