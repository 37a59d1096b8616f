"""One zone name in two views of one named: two pools, two keys, two zones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.bind9 import BACKEND
from dev.servers import Bind
from dnsworker.backend import Backend
from dnsworker.contents import ZoneContents
from dnsworker.errors import ServerFailure
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.pools import Pool
from dnsworker.records import SOA, RRset
from dnsworker.store import pools
from tests.world import World, a_world

VIEWS = ("inside", "outside")
WWW = (Name("www.example.org."), "A")


@pytest.fixture(scope="module")
def named() -> Iterator[Bind]:
    with Bind(views=VIEWS) as server:
        yield server


def backend_for(server: Bind, **options: object) -> Backend:
    return BACKEND("ns1", BACKEND.options_model.model_validate(options))


@pytest.fixture
def world(named: Bind, tmp_path: Path) -> Iterator[World]:
    """A pool for each view, of its name."""
    with a_world(tmp_path) as world:
        documents = [
            {
                "name": view,
                "ns_records": [{"hostname": "ns1.example.net."}],
                "targets": [{"name": view, "type": "bind9", "options": named.target_options(view)}],
                "nameservers": [named.nameserver(view)],
            }
            for view in VIEWS
        ]
        with world.engine.begin() as connection:
            pools.apply(connection, [Pool.model_validate(one) for one in documents])
        world.runtime.reload_pools()
        yield world


def test_a_zone_in_two_views_is_changed_in_each_by_itself(world: World, named: Bind) -> None:
    for view in VIEWS:
        world.succeed("create_zone", pool=view, zone="example.org.", email="hostmaster@example.net")
    inside, outside = (backend_for(named, **named.target_options(view)) for view in VIEWS)
    assert world.end_of(world.put("www", "192.0.2.1", pool="inside")).status is Status.ACTIVE
    assert world.end_of(world.put("www", "198.51.100.1", pool="outside")).status is Status.ACTIVE
    assert world.end_of(world.put("www", "192.0.2.2", pool="inside")).status is Status.ACTIVE
    assert inside.read_rrsets(Name("example.org."), [WWW])[WWW].data == ("192.0.2.2",)
    assert outside.read_rrsets(Name("example.org."), [WWW])[WWW].data == ("198.51.100.1",)
    world.succeed("delete_zone", pool="inside")
    assert inside.read_zone(Name("example.org.")) is None
    assert outside.read_zone(Name("example.org.")) is not None
    world.succeed("delete_zone", pool="outside")
    for backend in (inside, outside):
        backend.close()


def test_a_check_says_when_the_key_does_not_lead_to_the_view(named: Bind) -> None:
    for view in VIEWS:
        backend = backend_for(named, **named.target_options(view))
        assert backend.check().ok, backend.check().message
        backend.close()
    astray = backend_for(named, **(named.target_options("inside") | {"view": "outside"}))
    health = astray.check()
    assert not health.ok
    assert "the TSIG key 'inside' doesn't lead to the view 'outside'" in health.message
    assert "match-clients" in health.message
    astray.close()


def test_a_check_leaves_nothing_behind_in_the_view(named: Bind) -> None:
    named.restart()
    before = {path.name for path in named.folder.iterdir()}
    backend = backend_for(named, **named.target_options("outside"))
    assert backend.check().ok
    backend.close()
    assert {path.name for path in named.folder.iterdir()} == before
    added = [line for line in named.log_path.read_text().splitlines() if "dnsworker-probe" in line]
    probe = next(line for line in added if "'addzone " in line).split('"')[1]
    with pytest.raises(Exception, match="no matching zone"):
        named.rndc("zonestatus", probe, "IN", "outside")


def test_a_zone_that_the_key_does_not_lead_to_is_not_absent(named: Bind) -> None:
    zone = Name("astray.example.")
    soa = SOA(Name("ns1.example.net."), Name("hostmaster.example.net."), 1)
    contents = ZoneContents.of(zone, soa, [RRset(zone, "NS", 60, ["ns1.example.net."])])
    right = backend_for(named, **named.target_options("outside"))
    right.create_zone(contents)
    astray = backend_for(named, **(named.target_options("inside") | {"view": "outside"}))
    with pytest.raises(ServerFailure, match="doesn't lead to the view 'outside'"):
        astray.read_soa(zone)
    right.delete_zone(zone)
    for backend in (right, astray):
        backend.close()
