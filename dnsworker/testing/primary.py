"""A primary for the conformance suite: what a *pull* target transfers from, fed case by case.

Separate because the suite itself only knows backends that are written to. `Fed` makes one of a pull target:
it gives the primary what the case wants to be there, and then has the target fetch it.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

from dnsworker import names
from dnsworker.answers import ZoneView
from dnsworker.backend import Backend, Health, Receipt, ZoneDelta
from dnsworker.contents import ZoneContents
from dnsworker.errors import AuthenticationFailed, Unreachable, ZoneMissing
from dnsworker.names import Name
from dnsworker.nameserver import NameServer
from dnsworker.plan import Plan
from dnsworker.records import SOA, Key, RRset


class Primary:
    """The built-in nameserver over zones in memory, on a free loopback port. A context manager."""

    def __init__(self) -> None:
        self._zones: dict[Name, ZoneContents] = {}
        self._lock = threading.Lock()
        self._nameserver = NameServer(self, port=0)

    def __enter__(self) -> Self:
        self._nameserver.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._nameserver.stop()

    @property
    def host(self) -> str:
        return self._nameserver.host

    @property
    def port(self) -> int:
        return self._nameserver.port

    def hold(self, contents: ZoneContents) -> None:
        with self._lock:
            self._zones[contents.name] = contents

    def drop(self, zone: Name) -> None:
        with self._lock:
            self._zones.pop(zone, None)

    @property
    def serials(self) -> dict[Name, int]:
        """Of the zones that it holds: what a target that was down for a while will fetch."""
        with self._lock:
            return {name: contents.soa.serial for name, contents in self._zones.items()}

    # --- a `dnsworker.nameserver.ZoneSource` ---

    def find(self, qname: Name) -> ZoneView | None:
        """The closest zone."""
        with self._lock:
            held = [zone for zone in self._zones if names.is_within(qname, zone)]
            return self._zones[max(held, key=len)] if held else None

    def contents(self, zone: Name) -> ZoneContents | None:
        with self._lock:
            return self._zones.get(zone)


class Fed(Backend):
    """A pull target together with its primary, as if it were written to."""

    def __init__(self, backend: Backend, primary: Primary) -> None:
        self._backend, self._primary = backend, primary
        self.target, self.timeout_s = backend.target, backend.timeout_s
        self.checkpoint = self.renew = lambda: None
        backend.checkpoint = lambda: self.checkpoint()
        backend.renew = lambda: self.renew()
        self.capabilities = replace(backend.capabilities, pull=False)

    def read_zone(self, zone: Name) -> ZoneContents | None:
        return self._backend.read_zone(zone)

    def read_soa(self, zone: Name) -> SOA | None:
        return self._backend.read_soa(zone)

    def read_rrsets(self, zone: Name, keys: Collection[Key]) -> Mapping[Key, RRset]:
        return self._backend.read_rrsets(zone, keys)

    def read_changes(self, zone: Name, since: SOA) -> ZoneDelta | None:
        return self._backend.read_changes(zone, since)

    def create_zone(self, zone: ZoneContents) -> Receipt | None:
        with self._held(zone):
            return self._backend.create_zone(zone)

    def apply(self, plan: Plan) -> Receipt:
        held = self._primary.contents(plan.zone)
        if held is None:
            raise ZoneMissing(f"the primary has no zone {plan.zone}", zone=plan.zone)
        rrsets = dict(held.rrsets)
        for change in plan.changes:
            rrsets.pop(change.key, None)
            if change.after is not None:
                rrsets[change.key] = change.after
        with self._held(ZoneContents(soa=plan.desired_soa, rrsets=rrsets, name=plan.zone)):
            return self._backend.apply(plan)

    def ds_records(self, zone: Name) -> list[str]:
        return self._backend.ds_records(zone)

    def delete_zone(self, zone: Name) -> None:
        self._backend.delete_zone(zone)
        self._primary.drop(zone)

    def notify(self, zone: Name) -> None:
        self._backend.notify(zone)

    def check(self) -> Health:
        return self._backend.check()

    def close(self) -> None:
        self._backend.close()

    @contextmanager
    def _held(self, contents: ZoneContents) -> Iterator[None]:
        """The primary has `contents`; unless the target wasn't reached: it would fetch later, of itself, what
        no case expects then."""
        before = self._primary.contents(contents.name)
        self._primary.hold(contents)
        try:
            yield
        except (AuthenticationFailed, Unreachable):
            if before is None:
                self._primary.drop(contents.name)
            else:
                self._primary.hold(before)
            raise
