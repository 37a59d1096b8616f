"""The `rfc2136` backend where the shipped suite doesn't go: absent zones, emptying, serials, check."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest

from backends.rfc2136 import BACKEND
from dev.servers import Bind, Knot
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import ZoneChanged, ZoneMissing
from dnsworker.names import Name
from dnsworker.plan import split
from dnsworker.records import SOA, RRset
from dnsworker.testing import Proxy
from dnsworker.testing.lab import edited, many, whole_plan
from tests.updatable import add_to_bind, add_to_knot
from tests.world import a_world

_numbers = itertools.count(1)


@pytest.fixture
def make_backend(knot: Knot) -> Iterator[Callable[..., Backend]]:
    made: list[Backend] = []

    def make(*, server: Bind | Knot = knot, **options: Any) -> Backend:
        model = BACKEND.options_model.model_validate({**server.key_options(), **options})
        made.append(BACKEND("ns1", model))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def name() -> Name:
    return Name(f"r{next(_numbers)}.rfc2136.test.")


def contents(name: Name, *more: RRset, serial: int = 100, ns: str = "ns1.example.net.") -> ZoneContents:
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), serial)
    return ZoneContents.of(name, soa, [RRset(name, "NS", 3600, [ns]), *more])


def ask(server: Knot, name: str) -> dns.message.Message:
    return dns.query.tcp(dns.message.make_query(name, "A"), server.address, port=server.port, timeout=5)


def test_a_zone_that_nobody_added_is_asked_for(make_backend: Callable[..., Backend], name: Name) -> None:
    with pytest.raises(ZoneMissing, match=f"has no zone {name}.*add it there, with nothing but SOA and NS"):
        make_backend().create_zone(contents(name))


def test_an_empty_zone_is_filled_and_emptied(
    knot: Knot, make_backend: Callable[..., Backend], name: Name
) -> None:
    add_to_knot(knot, name, 7)
    backend = make_backend()
    zone = contents(name, *many(name, 3))
    backend.create_zone(zone)
    assert backend.read_zone(name) == zone
    backend.delete_zone(name)
    left = backend.read_zone(name)
    assert left == contents(name, serial=101)
    backend.delete_zone(name)
    assert backend.read_zone(name) == left, "there was nothing more to do"


def test_the_addresses_that_bind_wants_of_its_nameservers_stay(
    bind: Bind, make_backend: Callable[..., Backend], name: Name
) -> None:
    add_to_bind(bind, name, 7)
    backend = make_backend(server=bind)
    host = f"ns.{name}"
    glue = [RRset(host, "A", 60, ["192.0.2.53"]), RRset(host, "AAAA", 60, ["2001:db8::53"])]
    zone = contents(name, *glue, RRset(f"www.{name}", "A", 60, ["192.0.2.1"]), ns=host)
    backend.create_zone(zone)
    assert backend.read_zone(name) == zone
    backend.delete_zone(name)
    assert backend.read_zone(name) == contents(name, *glue, ns=host, serial=101)


@pytest.mark.parametrize("serial", [101, 100, 99])
def test_a_zone_that_stands_too_high_is_not_touched(
    knot: Knot, make_backend: Callable[..., Backend], name: Name, serial: int
) -> None:
    """The caller raises its serial first; 99 leaves no room for two messages."""
    add_to_knot(knot, name, serial)
    backend = make_backend()
    before = backend.read_zone(name)
    with pytest.raises(ZoneChanged, match=f"at serial {serial} already"):
        backend.create_zone(contents(name, *many(name, 3000)))
    assert backend.read_zone(name) == before


def test_a_plan_of_several_messages_is_seen_message_by_message(
    knot: Knot, make_backend: Callable[..., Backend], name: Name
) -> None:
    """What docs/backends/rfc2136.md says: each message is whole, and between them the zone is between."""
    add_to_knot(knot, name, 7)
    backend, reader = make_backend(), make_backend()
    zone = contents(name)
    backend.create_zone(zone)
    desired = edited(zone, *many(name, 3000))
    parts = split(whole_plan(zone, desired), backend.capabilities)
    assert len(parts) > 1
    seen = 0
    for part in parts:
        backend.apply(part)
        seen += len(part.changes)
        now = reader.read_zone(name)
        assert now is not None
        assert (now.soa, len(now.rrsets)) == (part.desired_soa, seen + 1)


def test_check_looks_at_the_key_where_it_can(
    knot: Knot, bind: Bind, make_backend: Callable[..., Backend], name: Name
) -> None:
    add_to_knot(knot, name, 7)
    wrong = {"tsig_key_secret": "bm90IHRoZSBzZWNyZXQ="}
    assert "knows our key" in make_backend(server=bind).check().message
    assert "BADSIG" in make_backend(server=bind, **wrong).check().message
    assert "name one in check_zone" in make_backend().check().message
    assert "knows our key" in make_backend(check_zone=str(name)).check().message
    health = make_backend(check_zone=str(name), **wrong).check()
    assert not health.ok
    assert "BADSIG" in health.message
    health = make_backend(check_zone="absent.rfc2136.test").check()
    assert not health.ok
    assert "doesn't answer for its check_zone absent.rfc2136.test." in health.message


def test_a_zone_goes_all_its_way_on_a_real_server(knot: Knot, tmp_path: Path, name: Name) -> None:
    target = {"name": "ns1", "type": "rfc2136", "options": knot.key_options()}
    nameserver = {**knot.nameserver(), "target": "ns1"}
    with a_world(tmp_path, "ns1", pool={"targets": [target], "nameservers": [nameserver]}) as world:
        creation = world.submit("create_zone", zone=name, email="hostmaster@example.net")
        world.until(lambda: "add " in (world.zone(name)["reason"] or ""), "nobody is asked to add it")
        add_to_knot(knot, name, 4_000_000_000)
        assert world.end_of(creation).status.has_succeeded
        world.end_of(world.put("www", "192.0.2.1", zone=name))
        assert [item.to_text() for item in ask(knot, f"www.{name}").answer[0]] == ["192.0.2.1"]
        world.succeed("delete_zone", zone=name, force=True)
        assert not ask(knot, f"www.{name}").answer


def test_a_request_that_is_sent_again_is_a_request_more(
    knot: Knot, make_backend: Callable[..., Backend], name: Name
) -> None:
    """On a kept connection that ends just then: the server has got the first one, too."""
    add_to_knot(knot, name, 7)
    endings = iter([False, True])
    with Proxy(knot.address, knot.port, loses=lambda request: next(endings, False)) as proxy:
        backend = make_backend(port=proxy.port)
        announced: list[str] = []
        backend.checkpoint = lambda: announced.append("again")
        soa = backend.read_soa(name)
        assert announced == []
        assert backend.read_soa(name) == soa
    assert (proxy.lost, announced) == (1, ["again"])
