"""A worker without Celery and a server without a network: for tests of what deliveries decide.

`MemoryBackend` is a DNS server in a dictionary that can refuse, forget, fall silent and be edited by hand;
`World` is a runtime whose wake-ups are handled at once, in the test's own thread.
"""

from __future__ import annotations

import sys
import time
import types
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from pydantic import Field

from dnsworker import backend as contract
from dnsworker import database, serials, settlement
from dnsworker.backend import Backend, Capabilities, Health, Options, Receipt
from dnsworker.comparison import is_same
from dnsworker.contents import ZoneContents
from dnsworker.errors import BackendError, Behind, OutcomeUnknown, Unreachable, ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.operations import Outcome, Status
from dnsworker.plan import Plan
from dnsworker.pools import Pool
from dnsworker.records import SOA, Key, RRset
from dnsworker.runtime import Runtime
from dnsworker.settings import load_settings
from dnsworker.settlement import Settled
from dnsworker.store import pools, zones
from dnsworker.store.pools import KnownPool
from dnsworker.tracing.tracing import Tracing
from tests.schema import have_schema

DEADLINE_S = 60.0


@dataclass
class MemoryServer:
    """What a `MemoryBackend` talks to."""

    zones: dict[Name, ZoneContents] = field(default_factory=dict)
    #: Every SOA serial that the server ever showed, by zone.
    serials: dict[Name, list[int]] = field(default_factory=dict)
    #: What it says to a plan or a new zone; returning None takes it.
    judge: Callable[[Collection[RRset]], BackendError | None] = lambda rrsets: None
    #: RRsets that it takes without a word and doesn't keep.
    forgets: set[Key] = field(default_factory=set)
    is_down: bool = False
    #: How many of the next answers get lost after the request was carried out.
    answers_to_lose: int = 0
    requests: list[str] = field(default_factory=list)
    #: What somebody else does just before a request is carried out.
    before_request: Callable[[str], None] = lambda what: None
    #: Where it transfers its zones from (`pull`).
    primary: MemoryServer | None = None
    #: Changes that it has taken and not spread yet; None: it spreads everything at once.
    spreading: list[str] | None = None
    #: Instead of what the target's options say.
    capabilities: Capabilities | None = None

    def edit(
        self, zone: str, *, add: Iterable[RRset] = (), remove: Iterable[Key] = (), serial: int | None = None
    ) -> None:
        """Somebody changes the zone by hand."""
        contents = self.zones[Name(zone)]
        rrsets = {key: one for key, one in contents.rrsets.items() if key not in set(remove)}
        rrsets |= {one.key: one for one in add}
        soa = contents.soa if serial is None else contents.soa.with_serial(serial)
        self.show(ZoneContents(soa=soa, rrsets=rrsets, name=Name(zone)))

    def show(self, contents: ZoneContents) -> None:
        kept = {key: one for key, one in contents.rrsets.items() if key not in self.forgets}
        self.zones[contents.name] = ZoneContents(soa=contents.soa, rrsets=kept, name=contents.name)
        self.serials.setdefault(contents.name, []).append(contents.soa.serial)


class MemoryOptions(Options):
    #: Capabilities, by their names.
    can: dict[str, Any] = Field(default={})


class MemoryBackend(Backend):
    capabilities = Capabilities(fencing="server")
    options_model = MemoryOptions
    servers: ClassVar[dict[str, MemoryServer]] = {}

    def __init__(self, target: str, options: Options, *, timeout_s: float = 5.0) -> None:
        super().__init__(target, options, timeout_s=timeout_s)
        self.server = self.servers.setdefault(target, MemoryServer())
        self.capabilities = self.server.capabilities or self.capabilities

    @classmethod
    def capabilities_for(cls, options: Options) -> Capabilities:
        assert isinstance(options, MemoryOptions)
        return replace(cls.capabilities, **options.can)

    def read_zone(self, zone: Name) -> ZoneContents | None:
        self._request("read")
        return self.server.zones.get(zone)

    def read_soa(self, zone: Name) -> SOA | None:
        self._request("soa")
        found = self.server.zones.get(zone)
        return found.soa if found else None

    def create_zone(self, zone: ZoneContents) -> Receipt | None:
        self._request("create")
        if self.server.primary is not None:
            return self._transfer(zone.name, zone.soa)
        if not self.capabilities.creates_zones:
            self._require_below(zone)
        self._judge(zone.rrsets.values())
        self.server.show(zone)
        self._lose_answer()
        return self._receipt(zone.soa)

    def apply(self, plan: Plan) -> Receipt:
        self._request("apply")
        current = self.server.zones.get(plan.zone)
        if current is None:
            raise ZoneMissing(f"no zone {plan.zone}")
        if self.server.primary is not None:
            return self._transfer(plan.zone, plan.desired_soa)
        if plan.fence == "rrsets":
            self._require_rrsets(plan, current)
        elif self.capabilities.fencing == "server" and current.soa != plan.current_soa:
            raise ZoneChanged(f"is at {current.soa.serial}, not {plan.current_soa.serial}")
        self._judge([change.after for change in plan.changes if change.after is not None])
        rrsets = dict(current.rrsets)
        for change in plan.changes:
            rrsets.pop(change.key, None)
        rrsets |= {change.key: change.after for change in plan.changes if change.after is not None}
        soa = plan.desired_soa
        if plan.fence == "rrsets" and not serials.is_ahead(soa.serial, current.soa.serial):
            soa = current.soa.with_serial(serials.add(current.soa.serial, 1))
        self.server.show(ZoneContents(soa=soa, rrsets=rrsets, name=plan.zone))
        self._lose_answer()
        return self._receipt(plan.desired_soa)

    def _require_rrsets(self, plan: Plan, current: ZoneContents) -> None:
        assert self.capabilities.fences_rrsets, "a plan with this fence is for those that declare it"
        for change in plan.changes:
            if not is_same(current.rrsets.get(change.key), change.before):
                raise ZoneChanged(f"{change.key} is not as expected")

    def has_arrived(self, zone: Name, change_id: str) -> bool:
        self._request("ask")
        return change_id not in (self.server.spreading or ())

    def notify(self, zone: Name) -> None:
        if not self.capabilities.notifies:
            super().notify(zone)
        self._request("notify")

    def delete_zone(self, zone: Name) -> None:
        self._request("delete")
        current = self.server.zones.pop(zone, None)
        if current is not None and not self.capabilities.creates_zones:
            serial = serials.add(current.soa.serial, 1)
            self.server.show(replace(current.skeleton(), soa=current.soa.with_serial(serial)))
        self._lose_answer()

    def _require_below(self, zone: ZoneContents) -> None:
        """The zone must be there already, at a serial that leads up to the new one."""
        current = self.server.zones.get(zone.name)
        if current is None:
            raise ZoneMissing(f"no zone {zone.name}")
        assert current == zone or serials.is_ahead(zone.soa.serial, current.soa.serial)

    def check(self) -> Health:
        return Health(not self.server.is_down, "in memory")

    def _transfer(self, zone: Name, soa: SOA) -> Receipt:
        assert self.server.primary is not None
        there = self.server.primary.zones.get(zone)
        if there is None or there.soa != soa:
            raise Behind(f"the primary has serial {there and there.soa.serial}, not {soa.serial}")
        self.server.show(there)
        return Receipt(soa)

    def _receipt(self, soa: SOA) -> Receipt:
        if self.server.spreading is None:
            return Receipt(soa)
        self.server.spreading.append(f"change-{len(self.server.requests)}")
        return Receipt(soa, self.server.spreading[-1])

    def _request(self, what: str) -> None:
        self.server.requests.append(what)
        self.server.before_request(what)
        if self.server.is_down:
            raise Unreachable("nobody answers")

    def _judge(self, rrsets: Collection[RRset]) -> None:
        refusal = self.server.judge(rrsets)
        if refusal is not None:
            raise refusal

    def _lose_answer(self) -> None:
        if self.server.answers_to_lose:
            self.server.answers_to_lose -= 1
            raise OutcomeUnknown("the answer got lost")


class StubSignals:
    """Remembers wake-ups, for the test to handle, and the outcomes that were told."""

    def __init__(self) -> None:
        self.woken: list[str] = []
        self.told: dict[str, Outcome] = {}

    def wake_delivery(self, target: str) -> None:
        self.woken.append(target)

    def publish_outcomes(self, outcomes: Sequence[Outcome]) -> None:
        self.told |= {outcome.id: outcome for outcome in outcomes}


class World:
    """One worker, its database, and the servers of its targets."""

    def __init__(
        self,
        url: str,
        targets: Iterable[str],
        *,
        pool: Mapping[str, Any] | None = None,
        tracing: Tracing | None = None,
        **settings: Any,
    ):
        self.settings = load_settings(
            database_url=url, retry_base_s=0.01, retry_cap_s=0.2, ordering_grace_s=30.0, **settings
        )
        have_schema(url)
        self.engine = database.connect(url)
        document = {
            "name": "default",
            "ns_records": [{"hostname": "ns1.example.net."}],
            "targets": [{"name": name, "type": "memory"} for name in targets],
            **(pool or {}),
        }
        with self.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(document)])
        MemoryBackend.servers = {name: MemoryServer() for name in targets}
        self.servers = MemoryBackend.servers
        self.signals = StubSignals()
        self.runtime = Runtime(self.settings, self.signals, tracing=tracing)
        self.runtime.start()

    def close(self) -> None:
        self.runtime.stop()
        self.engine.dispose()

    def submit(self, kind: str, operation_id: str | None = None, **arguments: Any) -> str:
        """Take an operation in; nothing is delivered yet."""
        operation_id = operation_id or str(uuid.uuid4())
        self.runtime.receive(operation_id, kind, {"zone": "example.org.", **arguments}, None)
        return operation_id

    def deliver(self) -> None:
        """Handle the wake-ups there are."""
        woken, self.signals.woken = dict.fromkeys(self.signals.woken), []
        for target in woken:
            self.runtime.deliver(target)

    def until(self, is_reached: Callable[[], bool], what: str) -> None:
        """Work until something holds, sweeping as beat would; fails with what is the matter otherwise."""
        deadline, pause_s = time.monotonic() + DEADLINE_S, 0.005
        while not is_reached():
            self.deliver()
            if time.monotonic() > deadline:
                pytest.fail(f"{what} within {DEADLINE_S:g} s; {self.explain()}")
            self.runtime.sweep()
            # The loop's own pace; what is waited for is the state. What hasn't come after some sweeps waits
            # for a clock, and sweeping on without a rest would take the processor from all the others.
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)

    def end_of(self, operation_id: str) -> Outcome:
        """The operation's outcome, when it has one."""
        self.until(lambda: self.show(operation_id).status.is_final, f"{operation_id} did not end")
        return self.show(operation_id)

    def do(self, kind: str, **arguments: Any) -> Outcome:
        return self.end_of(self.submit(kind, **arguments))

    def succeed(self, kind: str, **arguments: Any) -> Outcome:
        outcome = self.do(kind, **arguments)
        assert outcome.status.has_succeeded, f"{kind}: {outcome.code}: {outcome.message}"
        return outcome

    def create(self, zone: str = "example.org.") -> Outcome:
        return self.succeed("create_zone", zone=zone, email="hostmaster@example.net")

    def put(self, name: str, value: str, type: str = "A", **arguments: Any) -> str:
        return self.submit("put_record", name=name, type=type, data=[value], **arguments)

    def show(self, operation_id: str) -> Outcome:
        return Outcome.model_validate(self.runtime.ask("show_operation", {"id": operation_id}))

    def zone(self, name: str = "example.org.") -> dict[str, Any]:
        return self.runtime.ask("show_zone", {"zone": name})  # type: ignore[no-any-return]

    def records(self, name: str = "example.org.") -> dict[tuple[str, str], tuple[str, ...]]:
        """The desired RRsets, apex NS aside."""
        found = self.runtime.ask("list_records", {"zone": name})
        return {(one["name"], one["type"]): tuple(one["data"]) for one in found if one["type"] != "NS"}

    def served(self, target: str, name: str = "example.org.") -> dict[tuple[str, str], tuple[str, ...]]:
        """What a target has, apex NS aside."""
        contents = self.servers[target].zones[Name(name)]
        return {key: one.data for key, one in contents.rrsets.items() if key[1] != "NS"}

    def row(self, query: str) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(sa.text(query)).one()

    def wait_for_zone(self, status: str, name: str = "example.org.") -> dict[str, Any]:
        self.until(lambda: self.zone(name)["status"] == status, f"{name} did not become {status}")
        return self.zone(name)

    def explain(self) -> str:
        with self.engine.connect() as connection:
            found = connection.execute(sa.text("SELECT name, status, reason FROM zone")).all()
        return "; ".join(f"{name} {status}: {reason}" for name, status, reason in found)


def settle(connection: sa.Connection, known: KnownPool, zone_id: int) -> Settled:
    """As after a look: judge one zone, and write down how it is."""
    (settled,) = settlement.settle_all(connection, {zone_id: (known, zones.lock(connection, zone_id))})
    zones.update(connection, zone_id, status=settled.status.value, reason=settled.reason)
    return settled


@contextmanager
def a_world(folder: Path, *targets: str, **options: Any) -> Iterator[World]:
    """A world on SQLite, with the memory backend registered."""
    module = types.ModuleType("backends.memory")
    module.BACKEND = MemoryBackend  # type: ignore[attr-defined]
    kinds = contract.BUILT_IN
    sys.modules["backends.memory"] = module
    contract.BUILT_IN = (*kinds, "memory")
    url = options.pop("url", None) or f"sqlite:///{folder / 'world.db'}"
    world = World(url, targets or ("one",), **options)
    try:
        yield world
    finally:
        world.close()
        contract.BUILT_IN = kinds
        del sys.modules["backends.memory"]


__all__ = ["MemoryBackend", "MemoryServer", "Status", "World", "a_world", "settle"]
