"""What must be true when the system was healed and has come to rest. Each yields what is wrong, in words."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from chaos.faults import Cut, Fault, Pause
from chaos.nemesis import Nemesis
from chaos.system import TARGETS, UNFENCED, ZONES, System
from chaos.watcher import Fall, Watcher
from chaos.workload import Confirmed, Workload
from dev import traces
from dev.readback import Withheld, differences, holders
from dev.servers import ServerError
from dev.servers.process import wait_until
from dnsworker import queues, serials
from dnsworker.contents import ZoneContents
from dnsworker.errors import ZoneNotFound
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import Key, RRset
from dnsworker.reports.zones import find_zone
from dnsworker.settings import Settings
from dnsworker.store import withholding, zones
from dnsworker.tables import delivery, operation, target, withheld, zone

#: PowerDNS' `cache-ttl`, and time to look.
CACHED_S = 21.0
#: How long after waking up a writer may still be at what it was at.
WAKING_S = 30.0
#: RabbitMQ's counts lag for quorum queues.
QUEUE_LOOKS, QUEUE_PAUSE_S = 10, 1.0
#: How Celery tells itself to stop, also while it waits for a broker: a later trace has it as its context.
STOPPED = "celery.exceptions.WorkerShutdown"
OPEN = [status.value for status in Status if not status.is_final]


@dataclass(frozen=True)
class Run:
    """What the invariants are about."""

    system: System
    workload: Workload
    nemesis: Nemesis
    watcher: Watcher


def comes_to_rest(run: Run, within_s: float) -> bool:
    """Whether nothing is under way any more before the time is over."""

    def is_at_rest() -> bool:
        return not any(True for check in (unended, no_row_is_open) for _ in check(run))

    try:
        wait_until(is_at_rest, within_s, "rest")
    except ServerError:  # the invariants say what isn't
        return False
    return True


def wait_for_standstill(system: System, within_s: float) -> None:
    """Until everything that can is done, and the rest waits for an operator; or the time is over."""

    def is_still() -> bool:
        with system.engine.connect() as connection:
            due = sa.select(sa.func.count()).where(
                sa.or_(delivery.c.due_at.is_not(None), delivery.c.owner.is_not(None))
            )
            waiting = sa.select(sa.func.count()).where(operation.c.status.in_(("PENDING", "HELD")))
            queue = queue_lengths(system).get(queues.intake_queue().name, 0)
            return not (
                connection.execute(due).scalar_one() or connection.execute(waiting).scalar_one() or queue
            )

    with contextlib.suppress(ServerError):
        wait_until(is_still, within_s, "everything to stand still")


def unended(run: Run) -> Iterator[str]:
    """Every confirmed submission has an outcome."""
    rows = _operations(run)
    for one in run.workload.confirmed:
        row = rows.get(one.id)
        if row is None:
            yield f"{_described(one)} was confirmed, and is nowhere"
        elif not Status(row.status).is_final:
            yield f"{_described(one)} is {row.status}"
    yield from run.workload.failures


def as_foreseen(run: Run) -> Iterator[str]:
    """It is the outcome that the model foresaw."""
    rows = _operations(run)
    for one in run.workload.confirmed:
        row = rows.get(one.id)
        if row is not None and Status(row.status).is_final and row.code != one.refusal:
            ends = f"ended with {row.code or 'success'}, not {one.refusal or 'success'}"
            yield f"{_described(one)} {ends}: {row.message}"


def replay_without_late_ones(run: Run) -> int:
    """Let the model know which operations came too late: after more than the grace, and refused for that.

    Promise 3 allows it, and only then. Returns how many.
    """
    rows = _operations(run)
    to_wall = time.time() - time.monotonic()
    grace_s = Settings.model_fields["ordering_grace_s"].default
    late = {
        one.id
        for one in run.workload.confirmed
        if (row := rows.get(one.id)) is not None
        and row.code == "Overtaken"
        and row.received_at.timestamp() - to_wall - one.at > grace_s
    }
    if late:
        for client in run.workload.clients:
            client.replay((), {id_: row.code for id_, row in rows.items()}, late)
    return len(late)


def _operations(run: Run) -> dict[str, Any]:
    wanted = (operation.c.id, operation.c.status, operation.c.code, operation.c.message)
    with run.system.engine.connect() as connection:
        query = sa.select(*wanted, operation.c.received_at)
        return {row.id: row for row in connection.execute(query)}


def _described(one: Confirmed) -> str:
    return f"{one.submission.kind} of {one.zone} ({one.id})"


def as_modelled(run: Run) -> Iterator[str]:
    """Each zone is in the database what its client's operations make of it, in their order."""
    for name, model in run.workload.models.items():
        found, _ = _desired(run.system, name)
        if found is None or not model.exists:
            if (found is not None) != model.exists:
                yield f"{name} {'is' if found else 'is not'} in the database; the model says otherwise"
            continue
        if found.soa.ttl != model.ttl:
            yield f"{name}: its TTL is {found.soa.ttl} in the database, {model.ttl} in the model"
        held = {
            (key[0].removesuffix(f".{name}"), key[1]): (rrset.data, rrset.ttl)
            for key, rrset in found.rrsets.items()
            if key != (found.name, "NS")
        }
        wanted = {(owner, "A"): ((address,), ttl) for owner, (address, ttl) in model.rrsets.items()}
        for owner, type_ in sorted(held.keys() | wanted.keys()):
            is_, should = held.get((owner, type_)), wanted.get((owner, type_))
            if is_ != should:
                yield f"{name}: {owner} {type_} is {is_} in the database, {should} in the model"


def delivered(run: Run, excepted: Collection[str] = ()) -> Iterator[str]:
    """Every target, read back in full, holds what the database says, but for what it refuses."""
    if set(TARGETS) <= set(excepted):
        return
    for name in run.workload.models:
        desired, instead = _desired(run.system, name)
        if desired is None:
            for holder in set(holders(run.system.pool_yaml, Name(name))) - set(excepted):
                yield f"{holder} has {name}, which the database hasn't"
        else:
            for difference in differences(run.system.pool_yaml, desired, instead):
                if not difference.startswith(tuple(excepted)):
                    yield f"{name} at {difference}"


def nothing_lost_by_restores(run: Run) -> Iterator[str]:
    """After a restore no nameserver lost what the database has forgotten."""
    yield from run.system.losses


def no_row_is_open(run: Run) -> Iterator[str]:
    """No operation is on its way, no delivery due, claimed or behind, no zone to be looked at, nobody to be
    told; and nothing is withheld, since clients submit only what every server takes."""
    questions = {
        "operations that are open": operation.c.status.in_(OPEN),
        "operations that nobody was told of": operation.c.is_untold,
        "deliveries that are due": delivery.c.due_at.is_not(None),
        "deliveries that are claimed": delivery.c.owner.is_not(None),
        "deliveries that are behind": delivery.c.delivered_revision < delivery.c.wanted_revision,
        "RRsets that are withheld, of which none was refused": withheld.c.revision.is_not(None),
        "deliveries that wait for an operator": delivery.c.state.in_(("foreign", "ahead", "held")),
        "zones whose nameservers are to be asked": zone.c.look_at.is_not(None),
    }
    with run.system.engine.connect() as connection:
        for what, condition in questions.items():
            query = sa.select(sa.func.count()).where(condition)
            if count := connection.execute(query).scalar_one():
                yield f"{count} {what}"


def remembered(run: Run) -> Iterator[str]:
    """No target came to have less of a zone than was known, as long as the database was the same."""
    query = sa.text(
        "SELECT target.name AS target, zone.name AS zone, before, after FROM chaos_fall "
        "JOIN target ON target.id = target_id JOIN zone ON zone.id = zone_id"
    )
    with run.system.engine.connect() as connection:
        for row in connection.execute(query):
            yield f"{row.zone} at {row.target} was at revision {row.before}, and then noted at {row.after}"


def monotone(run: Run) -> Iterator[str]:
    """No nameserver showed a lower serial after a higher one (RFC 1982), as long as it kept its data."""
    pardoned = pardoned_falls(run)
    yield from (str(fall) for fall in run.watcher.falls if fall not in pardoned)


def pardoned_falls(run: Run) -> list[Fall]:
    """What a writer that slept beyond its lease may have done, where no server stops such a one, and a
    request that was that long on its way."""
    return [fall for fall in run.watcher.falls if _is_pardoned(run, fall)]


def _is_pardoned(run: Run, fall: Fall) -> bool:
    naps = [event for event in run.nemesis.history if _may_come_late(event.fault)]
    return fall.nameserver in UNFENCED and any(nap.begun <= fall.at <= nap.ended + WAKING_S for nap in naps)


def _may_be_cached(nameserver: str, late_s: float) -> bool:
    """Whether it is an answer that PowerDNS was making while it changed the zone, and then kept: other
    questions, ours among them, were answered from the zone (4.7.3, 2026-11-26: after 2 of 87 changes)."""
    return nameserver == "powerdns" and late_s <= CACHED_S


def true_when_said(run: Run) -> Iterator[str]:
    """No nameserver showed a serial from before an operation after that was said to have arrived."""
    offset_s = time.time() - time.monotonic()
    arrived = (Status.ACTIVE.value, Status.SUPERSEDED.value)
    columns = (operation.c.id, operation.c.zone, operation.c.serial, operation.c.finished_at)
    with run.system.engine.connect() as connection:
        query = sa.select(*columns).where(operation.c.status.in_(arrived), operation.c.kind != "delete_zone")
        rows = connection.execute(query).all()
    ended = {zone: [row for row in rows if row.zone == zone] for zone in ZONES}
    for (nameserver, _, zone_name), sights in run.watcher.seen.items():
        for sight in sights:
            for row in ended[zone_name]:
                said = row.finished_at.timestamp() - offset_s
                if sights[0].at < said < sight.until and serials.is_ahead(row.serial, sight.serial):
                    late = Fall(sight.until, nameserver, zone_name, row.serial, sight.serial)
                    if not (_is_pardoned(run, late) or _may_be_cached(nameserver, sight.until - said)):
                        yield f"{row.id} was said to have arrived when {late}"
                        break


def _may_come_late(fault: Fault) -> bool:
    return isinstance(fault, Pause) or (isinstance(fault, Cut) and fault.way == "late")


def no_dead_letter(run: Run) -> Iterator[str]:
    """Nothing was put away as not to be handled."""
    if count := queue_lengths(run.system).get(queues.dead_queue().name):
        yield f"{count} messages in {queues.dead_queue().name}"


def queues_are_empty(run: Run) -> Iterator[str]:
    """No message is left. Beat sends one every other second, so a queue must be seen empty once."""
    left = queue_lengths(run.system)
    left.pop(queues.dead_queue().name, None)
    for _ in range(QUEUE_LOOKS):
        if not any(left.values()):
            break
        time.sleep(QUEUE_PAUSE_S)
        now = queue_lengths(run.system)
        left = {queue: min(count, now.get(queue, 0)) for queue, count in left.items()}
    yield from (f"{count} messages in {queue}" for queue, count in sorted(left.items()) if count)


def queue_lengths(system: System) -> dict[str, int]:
    """By queue, its messages: those that a worker holds, too."""
    listed = system.stack.rabbitmq.control("list_queues", "--no-table-headers", "name", "messages")
    rows = (line.split("\t") for line in listed.splitlines() if line)
    return {name: int(count) for name, count in rows}


def no_surprise(run: Run) -> Iterator[str]:
    """No program of ours met an error that nobody foresaw, and no two locked rows in two orders."""
    for path in sorted(run.system.stack.folder.glob("*.log")):
        for trace in traces.through_our_code(path.read_text(encoding="utf-8", errors="replace")):
            last = trace.strip().splitlines()[-1]
            if not last.startswith(STOPPED):
                yield f"{path.stem} logged {last}"
    if "deadlock detected" in run.system.stack.postgresql.log_path.read_text(errors="replace"):
        yield "PostgreSQL detected a deadlock"


INVARIANTS: dict[str, Callable[[Run], Iterator[str]]] = {
    "outcomes": unended,
    "foreseen": as_foreseen,
    "database": as_modelled,
    "targets": delivered,
    "restores": nothing_lost_by_restores,
    "rows": no_row_is_open,
    "revisions": remembered,
    "serials": monotone,
    "arrivals": true_when_said,
    "dead letters": no_dead_letter,
    "queues": queues_are_empty,
    "errors": no_surprise,
}


def violations(run: Run) -> list[str]:
    """All that is wrong, each with the invariant's name before it."""
    return [f"{name}: {words}" for name, check in INVARIANTS.items() for words in check(run)]


def outcomes(run: Run) -> Counter[str]:
    """How many operations are in which state."""
    with run.system.engine.connect() as connection:
        query = sa.select(operation.c.status, sa.func.count()).group_by(operation.c.status)
        return Counter(dict(connection.execute(query).tuples().all()))


def _desired(system: System, name: str) -> tuple[ZoneContents | None, Withheld]:
    """What the zone should hold (None: there should be none), and what targets have instead."""
    with system.engine.connect() as connection:
        try:
            row, _ = find_zone(connection, Name(name), None)
        except ZoneNotFound:
            return None, {}
        targets = dict(connection.execute(sa.select(target.c.id, target.c.name)).tuples().all())
        instead: dict[str, dict[Key, RRset | None]] = {one: {} for one in targets.values()}
        for one in withholding.withheld_in(connection, row.id):
            instead[targets[one.target_id]][one.key] = one.accepted
        return ZoneContents.of(row.name, row.soa, zones.rrsets(connection, row.id)), instead
