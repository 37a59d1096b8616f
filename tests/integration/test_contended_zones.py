"""A zone in which others write all the time: ours gets there, theirs stays, and both are told apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from dev.servers import Bind, Knot
from dnsworker import serials
from dnsworker.backend import load_backend
from dnsworker.contents import ZoneContents
from dnsworker.convergence.sending import LEAD
from dnsworker.errors import RecordRejected
from dnsworker.names import Name
from dnsworker.operations import Status
from dnsworker.records import RRset
from dnsworker.tables import zone
from tests.busy_writers import BusyWriter
from tests.documented import blocks_in
from tests.world import World, a_world

ZONE = Name("example.org.")
WWW = ("www.example.org.", "A")
PC7 = ("pc7.dhcp.example.org.", "A")
SHARED: dict[str, Any] = {"ignore": [{"name": "*.dhcp"}]}
CAN_FENCE = {"name": "one", "type": "memory", "options": {"can": {"fences_rrsets": True}}}


class MemoryDhcp:
    """Writes a lease just before each request that we make, so that we are always too late."""

    def __init__(self, world: World, owner: str = "pc7.dhcp", times: float = float("inf")) -> None:
        self.server, self.owner, self.times = world.servers["one"], f"{owner}.{ZONE}", times
        self.writes = 0
        self.server.before_request = self.write

    def write(self, request: str) -> None:
        if ZONE not in self.server.zones or self.writes >= self.times:
            return
        self.writes += 1
        lease = RRset(self.owner, "A", 60, [f"10.0.{self.writes // 250 % 250}.{self.writes % 250 + 1}"])
        serial = serials.add(self.server.zones[ZONE].soa.serial, 1)
        self.server.edit(ZONE, add=[lease], serial=serial)

    def stop(self) -> None:
        self.server.before_request = lambda request: None


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., Any]:
    def make(**pool: Any) -> Any:
        return a_world(tmp_path, "one", pool={"targets": [CAN_FENCE], **pool})

    return make


@pytest.fixture
def world(make_world: Callable[..., Any]) -> Iterator[World]:
    with make_world(**SHARED) as world:
        world.create()
        world.end_of(world.put("www", "192.0.2.1"))
        yield world
        only_rises(world)


def only_rises(world: World) -> None:
    shown = world.servers["one"].serials[ZONE]
    assert all(
        serials.is_ahead(later, earlier) for earlier, later in itertools.pairwise(shown) if later != earlier
    )


def test_a_zone_made_anew_is_above_what_was_written_beside_others(world: World) -> None:
    """A worker may die, and the zone be deleted, before that serial was ever read back."""
    server, dhcp = world.servers["one"], MemoryDhcp(world)

    def fall_silent_after_it(request: str) -> None:
        shown = server.serials[ZONE]
        server.is_down = serials.distance(shown[-2], shown[-1]) > LEAD // 2
        if not server.is_down:
            dhcp.write(request)

    server.before_request = fall_silent_after_it
    world.put("www", "192.0.2.7")
    world.until(lambda: server.is_down, "nothing was written beside the others")
    dhcp.stop()
    server.is_down = False
    world.succeed("delete_zone")
    world.create()


def test_a_zone_made_anew_is_above_all_that_was_ever_seen(world: World) -> None:
    seen = world.zone()["serial"] + 5000
    world.succeed("delete_zone")
    created = world.submit("create_zone", email="hostmaster@example.net")
    with world.engine.begin() as connection:  # another worker saw it after the creation was accepted
        connection.execute(sa.update(zone).values(seen_serial=seen))
    world.end_of(created)
    assert serials.is_ahead(world.servers["one"].zones[ZONE].soa.serial, seen)


def test_operations_arrive_while_others_never_rest(world: World) -> None:
    dhcp = MemoryDhcp(world)
    for number in range(2, 6):
        assert world.end_of(world.put("www", f"192.0.2.{number}")).status is Status.ACTIVE
    assert world.end_of(world.submit("delete_record", name="www", type="A")).status is Status.ACTIVE
    assert set(world.served("one")) == {PC7}
    dhcp.stop()
    assert world.wait_for_zone("ACTIVE")["targets"][0]["last_repair"] is None


def test_a_server_that_can_only_look_at_the_soa_waits_for_a_quiet_moment(tmp_path: Path) -> None:
    with a_world(tmp_path, "one", pool=SHARED) as world:
        world.create()
        dhcp = MemoryDhcp(world)
        operation = world.put("www", "192.0.2.1")
        world.until(lambda: dhcp.writes > 60, "it is not tried again")
        assert world.show(operation).status is Status.ACCEPTED
        dhcp.stop()
        assert world.end_of(operation).status is Status.ACTIVE


def test_the_zones_own_values_arrive_as_well(world: World) -> None:
    MemoryDhcp(world)
    world.succeed("update_zone", refresh=7777)
    assert world.servers["one"].zones[ZONE].soa.refresh == 7777


def test_the_next_serial_is_above_what_others_have_reached(world: World) -> None:
    dhcp = MemoryDhcp(world)
    world.end_of(world.put("www", "192.0.2.2"))
    dhcp.stop()
    reached = world.servers["one"].zones[ZONE].soa.serial
    world.succeed("delete_zone", force=True)
    world.create()
    assert serials.is_ahead(world.servers["one"].zones[ZONE].soa.serial, reached)


def test_an_rrset_that_somebody_changes_in_between_is_read_again_and_ours_in_the_end(world: World) -> None:
    dhcp = MemoryDhcp(world, owner="www", times=8)
    world.end_of(world.put("www", "192.0.2.2"))
    assert dhcp.writes == 8
    world.wait_for_zone("ACTIVE")
    assert world.served("one") == {WWW: ("192.0.2.2",)}


@pytest.mark.parametrize("says", ["report", "ignore"])
def test_strangers_may_stay_where_the_pool_says_so(make_world: Callable[..., Any], says: str) -> None:
    with make_world(on_drift=says) as world:
        world.create()
        dhcp = MemoryDhcp(world)
        assert world.end_of(world.put("www", "192.0.2.1")).status is Status.ACTIVE
        dhcp.stop()
        assert set(world.served("one")) == {WWW, PC7}


def test_what_was_left_to_others_and_is_ours_now_is_replaced_whole(make_world: Callable[..., Any]) -> None:
    """What we believe is there isn't: the drift was passed over when it was found."""
    with make_world(on_drift="ignore") as world:
        world.create()
        dhcp = MemoryDhcp(world, owner="www")
        world.end_of(world.put("other", "192.0.2.1"))
        dhcp.stop()
        MemoryDhcp(world)
        world.end_of(world.put("www", "192.0.2.2"))
        assert world.served("one")[WWW] == ("192.0.2.2",)


def test_a_refused_record_holds_up_nothing_else(world: World) -> None:
    MemoryDhcp(world)
    world.servers["one"].judge = lambda rrsets: (
        RecordRejected("no poison") if any("192.0.2.66" in one.data for one in rrsets) else None
    )
    operations = [world.put("a", "192.0.2.2"), world.put("bad", "192.0.2.66"), world.put("b", "192.0.2.3")]
    assert [world.end_of(one).status for one in operations] == [Status.ACTIVE, Status.ERROR, Status.ACTIVE]
    assert {name for name, _ in world.served("one")} == {
        "www.example.org.", "a.example.org.", "b.example.org.", "pc7.dhcp.example.org."
    }  # fmt: skip


def test_a_record_that_is_taken_and_not_kept_is_refused(world: World) -> None:
    MemoryDhcp(world)
    world.servers["one"].forgets.add((Name("gone.example.org."), "A"))
    outcome = world.end_of(world.put("gone", "192.0.2.2"))
    assert outcome.status is Status.ERROR
    assert "accepted the change and doesn't have it" in (outcome.message or "")


def test_an_answer_lost_among_others_changes_is_no_second_change(world: World) -> None:
    MemoryDhcp(world)
    world.servers["one"].answers_to_lose = 1
    assert world.end_of(world.put("www", "192.0.2.2")).status is Status.ACTIVE
    assert world.served("one")[WWW] == ("192.0.2.2",)


# --- real servers -----------------------------------------------------------------------------------------

BACKENDS = Path(__file__).parents[2] / "docs" / "backends"
BIND_KEY, BIND_POOL = blocks_in("docs/backends/bind9.md", "Zones that others update")
BIND_STATEMENTS: str = yaml.safe_load(BIND_POOL)[0]["targets"][0]["options"]["zone_statements"]
#: named answers with the whole zone then, which for such a small one is less than what has changed.
WITHOUT_HISTORY = BIND_STATEMENTS.replace("max-ixfr-ratio unlimited;", "")
(SECRET,) = re.findall(r'secret "(.*)"', BIND_KEY)
KNOT_KEY, KNOT_ACL, KNOT_TEMPLATE = re.findall(
    r"^(?:key|acl|template):\n((?: +.+\n)+)",
    (BACKENDS / "knot.md").read_text("utf-8").split("\n## Zones that others update\n")[1],
    re.MULTILINE,
)
OTHERS: dict[str, Any] = {"ignore": yaml.safe_load(BIND_POOL)[0]["ignore"]}


class SharedKnot(Knot):
    """With what the page adds to knot.conf: it lets somebody else update some names of each zone."""

    def _configuration(self) -> str:
        text = super()._configuration().replace("acl:\n", f"{KNOT_KEY}acl:\n{KNOT_ACL}", 1)
        return text.replace("    acl: dnsworker\n", KNOT_TEMPLATE.partition("\n")[2])


@pytest.fixture
def shared_bind() -> Iterator[Bind]:
    with Bind(statements=BIND_KEY) as server:
        yield server


@pytest.fixture
def shared_knot() -> Iterator[Knot]:
    with SharedKnot() as server:
        yield server


@contextmanager
def a_shared_world(
    folder: Path, server: Bind | Knot, statements: str = WITHOUT_HISTORY, **pool: Any
) -> Iterator[World]:
    """With a zone `example.org.`, to which `others_of` may write; `statements`: of it in named.conf."""
    kind = "bind9" if isinstance(server, Bind) else "knot"
    options = server.target_options()
    if kind == "bind9":
        options["zone_statements"] = statements
    targets = [{"name": "one", "type": kind, "options": options}]
    with a_world(
        folder, "one", pool={"targets": targets, "nameservers": [server.nameserver()], **pool}
    ) as world:
        world.create()
        yield world


@pytest.fixture(params=["shared_bind", "shared_knot"])
def server(request: pytest.FixtureRequest) -> Bind | Knot:
    return request.getfixturevalue(request.param)


def others_of(server: Bind | Knot, **options: Any) -> BusyWriter:
    return BusyWriter(server.address, server.port, ZONE, ("others", SECRET), **options)


def contents(server: Bind | Knot) -> ZoneContents:
    kind = load_backend("bind9" if isinstance(server, Bind) else "knot")
    backend = kind("one", kind.options_model.model_validate(server.target_options()))
    try:
        found = backend.read_zone(ZONE)
    finally:
        backend.close()
    assert found is not None
    return found


def assert_both_are_there(world: World, server: Bind | Knot, others: BusyWriter) -> None:
    found = {key: set(one.data) for key, one in contents(server).rrsets.items() if key[1] != "NS"}
    assert found == {key: set(data) for key, data in world.records().items()} | others.records
    assert not others.refusals


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_both_get_what_they_want_of_a_real_server(
    server: Bind | Knot, tmp_path: Path, pause_s: float
) -> None:
    with a_shared_world(tmp_path, server, **OTHERS) as world:
        serial = contents(server).soa.serial
        with others_of(server, pause_s=pause_s) as others:
            others.wait_for(5)
            for number in range(10):
                assert world.end_of(world.put("www", f"192.0.2.{number}")).status is Status.ACTIVE
                assert world.end_of(world.put(f"a{number}", "192.0.2.1")).status is Status.ACTIVE
                reached = contents(server).soa.serial
                assert serials.is_ahead(reached, serial)
                serial = reached
            for number in range(5):
                operation = world.submit("delete_record", name=f"a{number}", type="A")
                assert world.end_of(operation).status is Status.ACTIVE
            world.succeed("update_zone", refresh=7777)
        world.wait_for_zone("ACTIVE")
        assert_both_are_there(world, server, others)
        assert contents(server).soa.refresh == 7777
        assert world.zone()["targets"][0]["last_repair"] is None
        assert world.end_of(world.put("after", "192.0.2.1")).status is Status.ACTIVE
        assert contents(server).soa.serial == world.zone()["serial"]


@pytest.mark.parametrize("says", ["report", "ignore"])
def test_what_the_pool_leaves_alone_stays_on_a_real_server(
    server: Bind | Knot, tmp_path: Path, says: str
) -> None:
    with a_shared_world(tmp_path, server, on_drift=says) as world:
        with others_of(server) as others:
            others.wait_for(5)
            for number in range(5):
                assert world.end_of(world.put("www", f"192.0.2.{number}")).status is Status.ACTIVE
        assert_both_are_there(world, server, others)


def test_strangers_on_a_real_server_are_repaired_when_they_are_gone(
    server: Bind | Knot, tmp_path: Path
) -> None:
    """Nobody said that others write here: their records go, and our change comes through all the same.

    That takes a server that tells what they did, however much it is beside so small a zone.
    """
    with a_shared_world(tmp_path, server, statements=BIND_STATEMENTS) as world:
        with others_of(server, pause_s=0.02) as others:
            others.wait_for(5)
            operation = world.put("www", "192.0.2.1")
            world.until(lambda: WWW in contents(server).rrsets, "the change doesn't come through")
        # Without `ignore` a zone is looked at only when something of it changes.
        assert world.end_of(world.put("www", "192.0.2.2")).status is Status.ACTIVE
        assert world.end_of(operation).status.has_succeeded
        world.wait_for_zone("ACTIVE")
        found = {key: one.data for key, one in contents(server).rrsets.items() if key[1] != "NS"}
        assert found == {WWW: ("192.0.2.2",)}


def test_a_large_change_goes_in_messages_beside_others(server: Bind | Knot, tmp_path: Path) -> None:
    with a_shared_world(tmp_path, server, **OTHERS) as world, others_of(server) as others:
        text = "".join(f"h{number} A 192.0.2.{number % 250}\n" for number in range(2000))
        world.succeed("import_zone", text=text)
        text = "".join(f"h{number} A 198.51.100.{number % 250}\n" for number in range(2000))
        world.succeed("import_zone", text=text)
        assert world.end_of(world.put("last", "192.0.2.1")).status is Status.ACTIVE
        others.wait_for(5)
        found = contents(server).rrsets
        assert {key: found[key].data for key in world.records()} == world.records()
