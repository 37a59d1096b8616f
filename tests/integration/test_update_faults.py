"""What can go wrong with a server that is updated over DNS, and what the operator is told of it."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from backends import dns_tsig
from dev.servers import Bind, Knot
from dev.writes import has_update
from dnsworker.backend import Backend, load_backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import (
    AuthenticationFailed,
    BackendError,
    OutcomeUnknown,
    Unreachable,
    ZoneChanged,
    ZoneMissing,
)
from dnsworker.names import Name
from dnsworker.plan import make_plan
from dnsworker.records import RRset
from dnsworker.testing import Proxy
from dnsworker.testing.lab import edited, many
from tests.updatable import add_to_bind, add_to_knot, remove_from_bind, remove_from_knot

_numbers = itertools.count(1)


@dataclass
class Target:
    """A kind of backend, at a server on which an operator adds and removes zones."""

    kind: str
    server: Bind | Knot
    made: list[Backend]

    def backend(self, **options: Any) -> Backend:
        own = self.server.target_options() if self.kind == "knot" else self.server.key_options()
        found = load_backend(self.kind)
        made = found(self.kind, found.options_model.model_validate({**own, **options}), timeout_s=5.0)
        self.made.append(made)
        return made

    def add_zone(self) -> ZoneContents:
        name = Name(f"f{next(_numbers)}.{self.kind}.test.")
        if isinstance(self.server, Bind):
            add_to_bind(self.server, name, 7)
        else:
            add_to_knot(self.server, name, 7)
        zone = self.backend().read_zone(name)
        assert zone is not None
        return zone

    def remove_zone(self, zone: Name) -> None:
        if isinstance(self.server, Bind):
            remove_from_bind(self.server, zone)
        else:
            remove_from_knot(self.server, zone)


@pytest.fixture(params=["knot", "rfc2136 on knot", "rfc2136 on bind"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    kind, _, server = request.param.partition(" on ")
    target = Target(kind, request.getfixturevalue(server or kind), [])
    yield target
    for backend in target.made:
        backend.close()


def changed(zone: ZoneContents, *, count: int = 1) -> ZoneContents:
    return edited(zone, *many(zone.name, count))


def calls(backend: Backend, zone: ZoneContents) -> list[Callable[[], object]]:
    desired = changed(zone)
    plan = make_plan(zone.name, zone.soa, desired.soa, zone.changes_to(desired))
    return [
        lambda: backend.read_zone(zone.name),
        lambda: backend.read_soa(zone.name),
        lambda: backend.read_rrsets(zone.name, [(zone.name, "NS")]),
        lambda: backend.read_changes(zone.name, zone.soa),
        lambda: backend.apply(plan),
        lambda: backend.create_zone(desired),
        lambda: backend.delete_zone(zone.name),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tsig_key_secret": "bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBzZXJ2ZXIhISE="}, "another secret.*BADSIG"),
        ({"tsig_key_name": "stranger"}, "doesn't know the TSIG key 'stranger'"),
        ({"tsig_key_algorithm": "hmac-sha512"}, "compare name and algorithm"),
    ],
    ids=["secret", "name", "algorithm"],
)
def test_a_wrong_key_is_named_and_changes_nothing(
    target: Target, options: dict[str, str], words: str
) -> None:
    zone = target.add_zone()
    stranger = target.backend(**options)
    for call in calls(stranger, zone):
        with pytest.raises(AuthenticationFailed, match=words):
            call()
    assert target.backend().read_zone(zone.name) == zone


def test_a_clock_that_is_off_by_ten_minutes_is_named(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = target.add_zone()
    backend = target.backend()
    monkeypatch.setattr(dns_tsig, "time", SimpleNamespace(time=lambda: time.time() - 600))
    for call in calls(backend, zone):
        with pytest.raises(AuthenticationFailed, match=r"clocks differ by .*BADTIME"):
            call()
    monkeypatch.undo()
    assert backend.read_zone(zone.name) == zone


def test_nobody_at_the_port_is_unreachable(target: Target) -> None:
    zone = target.add_zone()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    backend = target.backend(port=port)
    for call in calls(backend, zone)[:5]:
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
            call()
    assert not backend.check().ok


def test_a_zone_removed_behind_our_back_is_missing(target: Target) -> None:
    zone = target.add_zone()
    backend = target.backend()
    target.remove_zone(zone.name)
    assert backend.read_zone(zone.name) is None
    assert backend.read_soa(zone.name) is None
    _, _, read_rrsets, read_changes, apply, *_ = calls(backend, zone)
    for call in (read_rrsets, read_changes, apply):
        with pytest.raises(ZoneMissing):
            call()
    backend.delete_zone(zone.name)


def test_an_answer_lost_after_the_change_was_made_is_an_unknown_outcome(target: Target) -> None:
    zone = target.add_zone()
    desired = changed(zone)
    plan = make_plan(zone.name, zone.soa, desired.soa, zone.changes_to(desired))
    with Proxy(target.server.address, target.server.port, loses=has_update) as proxy:
        with pytest.raises(OutcomeUnknown, match="did not answer"):
            target.backend(port=proxy.port).apply(plan)
        assert proxy.lost
    backend = target.backend()
    assert backend.read_zone(zone.name) == desired
    with pytest.raises(ZoneChanged):
        backend.apply(plan)


class CuttingProxy(Proxy):
    """Passes the first octets of each answer on, and closes the connection."""

    def __init__(self, server: Bind | Knot, after_bytes: int) -> None:
        self._left = after_bytes
        super().__init__(server.address, server.port, loses=lambda request: False)

    def _pass_answers(self, client: socket.socket, server: socket.socket, request: bytearray) -> None:
        client.sendall(server.recv(self._left))
        self._finish(client, server)


@pytest.mark.parametrize("after_bytes", [1, 2, 20])
def test_an_answer_cut_in_the_middle_is_no_answer(target: Target, after_bytes: int) -> None:
    zone = target.add_zone()
    with CuttingProxy(target.server, after_bytes) as proxy:
        backend = target.backend(port=proxy.port)
        read_zone, read_soa, read_rrsets, read_changes, apply, *_ = calls(backend, zone)
        for call in (read_zone, read_soa, read_rrsets, read_changes):
            with pytest.raises(Unreachable):
                call()
        with pytest.raises(OutcomeUnknown):
            apply()
    assert target.backend().read_zone(zone.name) == changed(zone)


def test_a_transfer_cut_in_the_middle_is_never_a_shorter_zone(target: Target) -> None:
    zone = target.add_zone()
    whole = changed(zone, count=1000)
    plan = make_plan(zone.name, zone.soa, whole.soa, zone.changes_to(whole))
    target.backend().apply(plan)
    for after_bytes in (1_000, 15_000):
        with (
            CuttingProxy(target.server, after_bytes) as proxy,
            pytest.raises(BackendError, match=r"broke off|closed"),
        ):
            target.backend(port=proxy.port).read_zone(zone.name)
    assert target.backend().read_zone(zone.name) == whole


def test_a_change_that_is_taken_and_not_stored_shows_when_it_is_read(target: Target) -> None:
    """Both servers ignore a CNAME beside other data, and say NOERROR."""
    zone = target.add_zone()
    backend = target.backend()
    alias = RRset(zone.name, "CNAME", 60, ["elsewhere.example."])
    desired = edited(zone, alias)
    backend.apply(make_plan(zone.name, zone.soa, desired.soa, zone.changes_to(desired)))
    assert backend.read_rrsets(zone.name, [alias.key]) == {}
    delta = backend.read_changes(zone.name, zone.soa)
    assert delta is None or (delta.soa == desired.soa and not delta.keys)  # BIND may send the whole zone
