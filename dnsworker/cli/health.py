"""What is wrong with pools, and what to do about it, for `pool check`: one finding, one line.

All servers are asked at once, each under its own time-out, so that one dead server doesn't hide the others.
What the database knows comes as values: a pools.yaml can be checked before there is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dnsworker.backend import load_backend
from dnsworker.cli import nameserver_health
from dnsworker.errors import BackendError, ConfigError
from dnsworker.names import Name
from dnsworker.pools import Nameserver, Pool, Target, build_options, capabilities_of, writes_to
from dnsworker.settings import Settings

if TYPE_CHECKING:
    from dnsworker.store.holdings import Holdings

#: Names of zones that two pools hold; None where there is no database to ask.
InBoth = Callable[[str, str], Sequence[Name]]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found."""

    pool: str
    what: str
    name: str
    ok: bool
    message: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_pools(
    pools: Sequence[Pool],
    settings: Settings,
    *,
    holdings: Mapping[str, Holdings] | None = None,
    others: Sequence[Pool] = (),
    in_both: InBoth | None = None,
) -> list[Check]:
    """At least one `Check` for each target and nameserver, in the order of the file.

    `holdings` are what the pools' zones hold, by pool; `others` are pools that are there as well, and not to
    be checked themselves.
    """
    holdings = holdings or {}
    jobs: list[Callable[[], list[Check]]] = []
    for pool in pools:
        held = holdings.get(pool.name)
        jobs += [partial(_check_target, pool, target, held) for target in pool.targets]
        jobs += [partial(_check_nameserver, pool, server, settings, held) for server in pool.nameservers]
    if not jobs:
        return []
    with ThreadPoolExecutor(max_workers=min(len(jobs), 16)) as threads:
        found = list(itertools.chain.from_iterable(threads.map(lambda job: job(), jobs)))
    return found + list(_twice(pools, others, in_both))


def _check_target(pool: Pool, target: Target, held: Holdings | None) -> list[Check]:
    try:
        backend = load_backend(target.type)(target.name, build_options(target))
        try:
            health = backend.check()
        finally:
            backend.close()
    except (ConfigError, BackendError) as exc:
        return [Check(pool.name, "target", target.name, False, exc.message)]
    first = Check(pool.name, "target", target.name, health.ok, health.message)
    return [first, *(Check(pool.name, "target", target.name, False, said) for said in _unfit(target, held))]


def _unfit(target: Target, held: Holdings | None) -> Iterator[str]:
    """What the pool's zones hold that the target can't."""
    if held is None:
        return
    can = capabilities_of(target)
    if can.types is not None:
        for type_, (zones, owner) in sorted(held.types.items()):
            if type_ not in can.types:
                some = "1 zone of the pool has" if zones == 1 else f"{zones} zones of the pool have"
                yield (
                    f"can't hold {type_} records, and {some} some, such as {owner}: "
                    "delete them, or move the zones to another pool"
                )
    if can.max_zones is not None and held.zones > can.max_zones:
        yield f"can hold {can.max_zones} zones, and the pool has {held.zones}: make a second pool"
    if can.max_rrsets is not None and held.largest is not None and held.largest[1] > can.max_rrsets:
        name, rrsets = held.largest
        yield f"can hold {can.max_rrsets} RRsets in a zone, and {name} has {rrsets}: move it to another pool"


def _check_nameserver(
    pool: Pool, server: Nameserver, settings: Settings, held: Holdings | None
) -> list[Check]:
    sample = held.sample if held else ()
    is_fed_by = server.target or "the pool's targets"
    said = nameserver_health.examine(
        server, sample, pool.ns_records[0].hostname, is_fed_by, timeout_s=max(settings.query_timeout_s, 2)
    )
    return [Check(pool.name, "nameserver", server.address, ok, message) for ok, message in said]


#: What two targets have in common that are one, by the kind of access, and what to do about it.
SAME = {
    "route53": ("account", "give each an account"),
    "zonefile": ("folder", "give each a folder"),
}


def _twice(pools: Sequence[Pool], others: Sequence[Pool], in_both: InBoth | None) -> Iterator[Check]:
    """Targets that are one server and view under two names."""
    every = [(pool, target) for pool in [*pools, *others] for target in pool.targets]
    places: dict[tuple[str, ...], list[tuple[Pool, Target]]] = {}
    for pool, target in every:
        try:
            place = writes_to(target)
        except ConfigError:
            continue  # said where the target is checked
        if place is not None:
            places.setdefault(place, []).append((pool, target))
    checked = {pool.name for pool in pools}
    for place, found in places.items():
        where = " ".join(part for part in place[1:] if part)
        same, remedy = SAME.get(place[0], ("server and view", "give each a view"))
        for (pool, target), (pool2, target2) in itertools.combinations(found, 2):
            if not checked & {pool.name, pool2.name}:
                continue
            if pool.name == pool2.name:
                message = f"writes to the same {same} as {target2.name} ({where}): remove one of them"
                yield Check(pool.name, "target", target.name, False, message)
                continue
            shared = list(in_both(pool.name, pool2.name)) if in_both else []
            if shared:
                names = ", ".join(shared[:3]) + (" and more" if len(shared) > 3 else "")
                message = (
                    f"writes {names} to the same {same} as {target2.name} of pool {pool2.name} ({where}), "
                    f"which holds them too: delete them in one pool, or {remedy}"
                )
                yield Check(pool.name, "target", target.name, False, message)
